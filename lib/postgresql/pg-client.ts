/**
 * The part of `pg` that the library stands on, as types of its own: the driver is an optional peer
 * and must not appear in public types. `test/e2e/pg-surface.spec.ts` fails when an upgrade of
 * `pg` changes any of it.
 */
export interface PgClient {
  readonly host: string;
  readonly port: number;
  /** Process id of the backend; like `secretKey`, the server sends it at log-in. */
  readonly processID: number | null;
  /** A number of four bytes, or, as protocol 3.2 allows, the bytes themselves. */
  readonly secretKey: number | Uint8Array | null;
  /** The options of TLS, from wherever `pg` took them; `false` or missing without TLS. */
  readonly ssl?: unknown;
  /** `'direct'` where the handshake begins at once, which the client does not ask for first. */
  readonly sslNegotiation?: string;
  /** Makes a socket as the option `stream` of the pool does; missing where that was not given. */
  readonly makeStream?: (() => unknown) | undefined;
  /** The socket; destroyed where a graceful goodbye could wait for ever. */
  readonly connection: {
    readonly stream: { destroy(): void; readonly encrypted?: boolean };
    /** Emits the command tag of each statement that the server has answered. */
    on(event: 'commandComplete', listener: () => void): unknown;
    off(event: 'commandComplete', listener: () => void): unknown;
  };
  query(text: string, values?: readonly unknown[]): Promise<PgResult | PgResult[]>;
  /** Whether the server has answered everything that was sent, so that the next query leaves at once. */
  readonly readyForQuery: boolean;
  /** Transaction status of the last `ReadyForQuery`: idle, in a transaction, in a failed one. */
  getTransactionStatus(): 'I' | 'T' | 'E' | null;
  /** The value as a literal of SQL, quotes included. */
  escapeLiteral(value: string): string;
  release(destroy?: boolean | Error): void;
  /**
   * How the pool ends a client: by a goodbye, or by a cut while a statement runs. Missing where the
   * client is of no pool.
   */
  end?: (callback?: () => void) => unknown;
  /**
   * Gives the client of pg behind one that only stands for it, as those of a test that shares its
   * transaction do, and nobody else gets in until `use` has returned. Missing where the client is its
   * own.
   *
   * @param use `onSend` is to be called with each query before it is sent, and may refuse it by throwing
   */
  lend?<T>(use: (client: PgClient, onSend: OnSend) => Promise<T>): Promise<T>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

/** Called with the text and the values of a query before it is sent. */
export type OnSend = (sql: string, values: readonly unknown[]) => void;

export interface PgResult {
  readonly command: string | null;
  readonly rowCount: number | null;
  readonly rows: unknown[];
}

/** How a pool hands over a client where it was not asked for a promise. */
export type ConnectCallback = (
  error: Error | undefined,
  client: PgClient | undefined,
  release?: (destroy?: boolean | Error) => void,
) => void;

/** A place in the queue of a pool. */
export interface PendingItem {
  readonly callback: ConnectCallback;
  /** Set when `connectionTimeoutMillis` is over, after which the caller takes no client any more. */
  readonly timedOut?: boolean;
}

/** A client that is in no pool. */
export interface StandaloneClient {
  readonly connection: PgClient['connection'];
  /** The password in use once the client has logged in, also where the options gave a function. */
  readonly password: unknown;
  connect(callback?: (error?: unknown, ...more: unknown[]) => void): Promise<unknown>;
  query(text: string): Promise<PgResult | PgResult[]>;
  /** Says goodbye, and resolves when the server has closed the connection. */
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

export interface PgPool {
  /** The class that the pool makes its clients of, with its own `options`. It may be changed. */
  Client: new (options: object) => StandaloneClient;
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: {
    readonly max: number;
    /** Sets a new client up before anybody gets it. */
    readonly onConnect?: unknown;
    /** Longest wait for a client in milliseconds, in the queue and for a new one; none by default. */
    connectionTimeoutMillis?: number;
  };
  /** Whether `end()` was called; a second call is an error. */
  readonly ending: boolean;
  connect: {
    (): Promise<PgClient>;
    (callback: ConnectCallback): void;
  };
  /** Calls `listener`, synchronously, for each client that is given back or destroyed. */
  on(event: 'release', listener: (error: unknown, client: PgClient) => void): unknown;
  /** Calls `listener`, synchronously, for each client that is new, before anybody gets it. */
  on(event: 'connect', listener: (client: PgClient) => void): unknown;
  /** Calls `listener` for each client that has left the pool and is closed. */
  on(event: 'remove', listener: () => void): unknown;
  listenerCount(event: 'connect'): number;
  /** Resolves when every client has been returned and closed. */
  end(): Promise<void>;
}

/** The private members of a pool that are used here. */
interface PgPoolInternals {
  readonly ['_pendingQueue']: PendingItem[];
  readonly ['_clients']: readonly PgClient[];
  ['_remove'](client: PgClient, callback: () => void): void;
  ['_pulseQueue'](): void;
}

/**
 * The queue of the callers that wait for a client of a pool; a caller that asks while no client is free
 * is put at its end. It may be changed.
 */
export function queueOf(pool: PgPool): PendingItem[] {
  return (pool as unknown as PgPoolInternals)['_pendingQueue'];
}

/** All clients of a pool, those that are still connecting included. */
export function clientsOf(pool: PgPool): readonly PgClient[] {
  return (pool as unknown as PgPoolInternals)['_clients'];
}

/** The private fields of a client that are read here. */
interface PgClientInternals {
  readonly ['_activeQuery']: object | null;
  readonly ['_queryQueue']: readonly object[];
  /** The named statements that the client has prepared, which it does not prepare again. */
  readonly connection: { readonly parsedStatements?: Record<string, string> };
}

/** How many messages of a client have not been answered. */
export function pendingOf(client: PgClient): number {
  const internals = client as unknown as PgClientInternals;
  return internals['_queryQueue'].length + (internals['_activeQuery'] === null ? 0 : 1);
}

/** Makes a client prepare its named statements again, which the server has forgotten. */
export function forgetPrepared(client: PgClient): void {
  const { parsedStatements = {} } = (client as unknown as PgClientInternals).connection;
  for (const name of Object.keys(parsedStatements)) {
    delete parsedStatements[name];
  }
}

/**
 * Takes a client out of its pool, whose code that holds it does not give it back. It may still do so later:
 * the pool then ends the client once more, which has no effect.
 */
export function removeFromPool(pool: PgPool, client: PgClient): void {
  const internals = pool as unknown as PgPoolInternals;
  internals['_remove'](client, () => internals['_pulseQueue']());
}

/** Whether a pool has ended an attempt to connect, since it took longer than `connectionTimeoutMillis`. */
export function hasGivenUpConnecting(error: unknown): boolean {
  const { message } = (error ?? {}) as { readonly message?: unknown };
  return message === 'Connection terminated due to connection timeout';
}
