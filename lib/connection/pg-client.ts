import { connect } from 'node:net';

/**
 * The part of `pg` that the library stands on, as types of its own: the driver is an optional peer
 * and must not appear in public types. `test/e2e/pg-surface.spec.ts` fails when an upgrade of
 * `pg` changes any of it.
 */
export interface PgClient {
  readonly host: string;
  readonly port: number;
  /** Backend process id and cancel key, which the server sends at log-in. */
  readonly processID: number | null;
  readonly secretKey: number | null;
  /** The wire; destroyed where a graceful goodbye could wait for ever. */
  readonly connection: { readonly stream: { destroy(): void } };
  query(text: string, values?: readonly unknown[]): Promise<PgResult | PgResult[]>;
  /** Transaction status of the last `ReadyForQuery`: idle, in a transaction, in a failed one. */
  getTransactionStatus(): 'I' | 'T' | 'E' | null;
  /** The value as a literal of SQL, quotes included. */
  escapeLiteral(value: string): string;
  release(destroy?: boolean | Error): void;
  /** How the pool ends it: a goodbye, or a cut while a statement runs. Missing where there is no pool. */
  end?: (callback?: () => void) => unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

export interface PgResult {
  readonly command: string | null;
  readonly rowCount: number | null;
  readonly rows: unknown[];
}

/** How a pool gives a client to whom it owes no promise. */
type ConnectCallback = (
  error: Error | undefined,
  client: PgClient | undefined,
  release?: (destroy?: boolean | Error) => void,
) => void;

/** A place in the queue of a pool. */
export interface PendingItem {
  readonly callback: ConnectCallback;
  /** Set when `connectionTimeoutMillis` is over, and nobody takes the client any more. */
  readonly timedOut?: boolean;
}

/** A client that is in no pool. */
export interface LoneClient {
  readonly connection: PgClient['connection'];
  /** Once it has logged in, also where the options gave a function. */
  readonly password: unknown;
  connect(): Promise<unknown>;
  query(text: string): Promise<PgResult | PgResult[]>;
  /** Says goodbye, and resolves when the other side has closed. */
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

export interface PgPool {
  /** What it makes its clients with, of its own `options`. */
  readonly Client: new (options: object) => LoneClient;
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: { readonly max: number };
  /** Whether `end()` was called; a second call is an error. */
  readonly ending: boolean;
  connect: {
    (): Promise<PgClient>;
    (callback: ConnectCallback): void;
  };
  /** Told, synchronously, of each client that is given back or destroyed. */
  on(event: 'release', listener: (error: unknown, client: PgClient) => void): unknown;
  /** Resolves when every client has been returned and closed. */
  end(): Promise<void>;
}

/** What a pool keeps to itself. */
interface PgPoolInternals {
  readonly ['_pendingQueue']: PendingItem[];
  readonly ['_clients']: readonly PgClient[];
}

/** Those who wait for a client; one who asks while none is free becomes the last. May be changed. */
export function queueOf(pool: PgPool): PendingItem[] {
  return (pool as unknown as PgPoolInternals)['_pendingQueue'];
}

/** All clients of a pool, those that are still connecting included. */
export function clientsOf(pool: PgPool): readonly PgClient[] {
  return (pool as unknown as PgPoolInternals)['_clients'];
}

/**
 * Whether the server itself refused the statement. Anything else (a cut link, a timeout on the
 * client) leaves the connection in an unknown state. The value of `severity` does not help: the
 * server translates it.
 */
export function isServerError(error: unknown): boolean {
  const { severity, code } = (error ?? {}) as { severity?: unknown; code?: unknown };
  return typeof severity === 'string' && typeof code === 'string';
}

// Of 57P01 to 57P05 (shutdown, crash, termination), 25P03 and 25P04 (timeouts that end it).
const ENDS_CONNECTION = /^(57P0[1-5]|25P0[34])$/;

/** Whether the server has said with this error that it closes the connection. */
export function endsConnection(error: unknown): boolean {
  return ENDS_CONNECTION.test(String(sqlStateOf(error)));
}

/** The SQLSTATE of a server's error. */
export function sqlStateOf(error: unknown): unknown {
  return (error as { readonly code?: unknown } | null)?.code;
}

/**
 * Takes a client out of its pool for good. The socket is destroyed as well: on a half-open link
 * the polite goodbye of `release(true)` never ends, and the pool would not serve its waiters.
 */
export function destroyClient(client: PgClient): void {
  client.release(true);
  client.connection.stream.destroy();
}

/**
 * As {@link destroyClient}, but the wire lives until `settled`. The pool gets its slot back at once
 * all the same, and may connect another in its place.
 */
export function destroyClientAfter(client: PgClient, settled: Promise<unknown>): void {
  const end = client.end?.bind(client);
  if (end === undefined) {
    destroyClient(client);
    return;
  }
  // The pool ends what is released like this, serves others when that is done, and `pg` would cut.
  client.end = (callback) => callback?.();
  client.release(true);
  const cut = (): void => {
    end();
    client.connection.stream.destroy();
  };
  void settled.then(cut, cut);
}

const CANCEL_REQUEST_CODE = 80_877_102;
const CANCEL_TIMEOUT_MS = 1_000;

/**
 * Asks the server to stop what a backend is running, so that its locks go with the connection. A
 * backend does not notice a closed socket while it executes.
 *
 * The request goes over a connection of its own and is never answered; the server closes that
 * connection once it has signalled the backend. See
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 *
 * @returns whether the request is over and done with; if not, it may yet hit a later statement
 */
export function cancelBackend(client: PgClient): Promise<boolean> {
  const { processID, secretKey, host, port } = client;
  if (processID === null || secretKey === null) {
    return Promise.resolve(true);
  }
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(CANCEL_REQUEST_CODE, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  const socket = host.startsWith('/')
    ? connect({ path: `${host}/.s.PGSQL.${port}` })
    : connect({ host, port });
  return new Promise((resolve) => {
    socket.unref();
    socket.setTimeout(CANCEL_TIMEOUT_MS, () => {
      resolve(false);
      socket.destroy();
    });
    // The request is a courtesy; where it cannot be delivered the closed socket has to do.
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(true));
    socket.on('data', () => undefined);
    socket.write(request);
  });
}
