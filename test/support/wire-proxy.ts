import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deferred, type Deferred } from './deferred.js';
import type { Certificate } from './encryption.js';
import { WireConnection, type StatementFate } from './wire-connection.js';
import { acceptTls, askForTls, dial, reset } from './wire-sides.js';

/** One statement as it left a client. */
export interface LoggedStatement {
  /** Number of the connection, counted from 1 in the order in which they were opened. */
  readonly connection: number;
  readonly sql: string;
}

interface ArmedFault {
  readonly pattern: RegExp;
  readonly fate: StatementFate;
}

/** What a wire is made of; by default it is one of TCP, without encryption. */
export interface WireOptions {
  /**
   * Both sides are encrypted: the proxy shows this certificate to its clients, and the server has to
   * show it to the proxy. A client that does not ask for TLS is refused.
   */
  readonly tls?: Certificate;
  /** The directory of the server's Unix socket; the clients get one in a directory of their own. */
  readonly socketDirectory?: string;
}

/** The number in the names of the Unix sockets that clients get; there is one in each directory. */
const SOCKET_PORT = 5432;

/**
 * A TCP proxy between a PostgreSQL client and the server: an exact log of the statements and a
 * source of faults at exact points. Speaks protocol 3.0, by default without encryption: requests for TLS
 * are then passed on, and the server must decline them.
 *
 * @example
 * ```ts
 * const proxy = await WireProxy.start(database.url);
 * proxy.dropAnswerTo(/^commit/i);
 * // ... connect to proxy.url
 * expect(proxy.log).toEqual(['begin', 'select 1', 'commit']);
 * await proxy.stop();
 * ```
 */
export class WireProxy {
  /**
   * Statements in the order in which they left the clients: the SQL of each Query and each Parse
   * message. A prepared statement that is executed again without a new Parse does not appear
   * again; a statement that {@link cutBefore} stopped does appear.
   */
  readonly statements: LoggedStatement[] = [];
  /** The texts of the messages: as `statements`, but what leaves together with BEGIN is one. */
  readonly messages: string[] = [];
  /**
   * How often a client asked for an answer: the number of forwarded Query, Sync and Flush
   * messages. A parameterised query is one, because only its Sync counts. The start-up of a
   * connection is none.
   */
  roundTrips = 0;
  /** While true, new connections are destroyed at once; those that are open stay. */
  refuse = false;
  /** Delay in each direction, in milliseconds, from the arrival of the bytes at the proxy. */
  delayMs = 0;
  /**
   * Awaited before a statement is forwarded; later messages on that connection wait, too. When it
   * fails, the connection is cut and {@link stop} throws the error.
   */
  onStatement?: ((sql: string, connection: number) => void | Promise<void>) | undefined;
  /**
   * Awaited after the error of a statement has been passed on, before the server's word that it is ready
   * again: a client may have both in one packet, or one after the other.
   */
  onErrorAnswer?: (() => Promise<void>) | undefined;

  readonly #serverUrl: URL;
  readonly #options: WireOptions;
  /** The directory of the Unix socket, where it listens on one. */
  #directory: string | undefined;
  readonly #listener: Server;
  /** Sides of connections that have not agreed on TLS yet. */
  readonly #opening = new Set<Socket>();
  readonly #connections = new Map<number, WireConnection>();
  readonly #faults: ArmedFault[] = [];
  readonly #failures: unknown[] = [];
  #opened = 0;
  #frozen: Deferred<void> | undefined;

  private constructor(serverUrl: URL, options: WireOptions) {
    this.#serverUrl = serverUrl;
    this.#options = options;
    this.#listener = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  /**
   * Starts a proxy on a free port of 127.0.0.1, or on a Unix socket.
   *
   * @param serverUrl - URL of the database that it leads to
   */
  static async start(serverUrl: string, options: WireOptions = {}): Promise<WireProxy> {
    const proxy = new WireProxy(new URL(serverUrl), options);
    if (options.socketDirectory === undefined) {
      proxy.#listener.listen(0, '127.0.0.1');
    } else {
      proxy.#directory = await mkdtemp(join(tmpdir(), 'Wire-'));
      proxy.#listener.listen(join(proxy.#directory, `.s.PGSQL.${SOCKET_PORT}`));
    }
    await once(proxy.#listener, 'listening');
    return proxy;
  }

  /**
   * Cuts what is open, closes the port and waits until all sockets are gone.
   *
   * @throws AggregateError of what {@link onStatement} threw, if it did
   */
  async stop(): Promise<void> {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    const connections = [...this.#connections.values()];
    this.cut();
    this.thaw();
    await Promise.all([closed, ...connections.map((connection) => connection.closed)]);
    if (this.#directory !== undefined) await rm(this.#directory, { recursive: true });
    if (this.#failures.length > 0) {
      throw new AggregateError(this.#failures, 'WireProxy.onStatement failed');
    }
  }

  /** The server's URL, pointed at this proxy. */
  get url(): string {
    const url = new URL(this.#serverUrl);
    if (this.#directory === undefined) {
      url.hostname = '127.0.0.1';
      url.port = String((this.#listener.address() as AddressInfo).port);
    } else {
      url.hostname = encodeURIComponent(this.#directory);
      url.port = String(SOCKET_PORT);
    }
    return url.href;
  }

  /** The SQL of {@link statements} alone. */
  get log(): string[] {
    return this.statements.map(({ sql }) => sql);
  }

  /** Number of connections of which at least one side is still open. */
  get openConnections(): number {
    return this.#connections.size;
  }

  /** Clears the log and {@link roundTrips}. Faults stay as they are. */
  reset(): void {
    this.statements.length = 0;
    this.messages.length = 0;
    this.roundTrips = 0;
  }

  /** Destroys both sides of all connections with RST. */
  cut(): void {
    for (const connection of this.#connections.values()) connection.destroy();
    for (const socket of this.#opening) reset(socket);
  }

  /**
   * Makes all connections half-open, new ones too: the sockets stay, but nothing passes in either
   * direction, not even their end. The bytes are held until {@link thaw}.
   */
  freeze(): void {
    this.#frozen ??= deferred();
  }

  /** Delivers what {@link freeze} held back and lets everything flow again. */
  thaw(): void {
    this.#frozen?.resolve();
    this.#frozen = undefined;
  }

  /**
   * Once, for the next statement that matches: the server executes it and its answer is read to
   * the end, but the client gets none of it; then both sides are destroyed.
   */
  dropAnswerTo(pattern: RegExp): void {
    this.arm('drop-answer', pattern);
  }

  /** Once, for the next statement that matches: the server never sees it; both sides are destroyed. */
  cutBefore(pattern: RegExp): void {
    this.arm('cut', pattern);
  }

  /** Once, for the next statement that matches, see {@link StatementFate}. */
  arm(fate: StatementFate, pattern: RegExp): void {
    this.#faults.push({ pattern, fate });
  }

  /** Forgets the faults that no statement has met. */
  disarm(): void {
    this.#faults.length = 0;
  }

  /** Ends the connections that are half-open: the network is back, and knows nothing of them. */
  heal(): void {
    for (const connection of this.#connections.values()) {
      if (connection.isHalfOpen) connection.destroy();
    }
  }

  /** Process id of the backend that serves a connection. */
  backendPid(connection: number): number | undefined {
    return this.#connections.get(connection)?.backendPid;
  }

  #accept(client: Socket): void {
    if (this.refuse) {
      reset(client);
      return;
    }
    this.#opened += 1;
    const number = this.#opened;
    const { hostname: host, port: text } = this.#serverUrl;
    const port = Number(text || 5432);
    const { tls, socketDirectory } = this.#options;
    const server = dial(
      socketDirectory === undefined
        ? { host, port }
        : { path: join(socketDirectory, `.s.PGSQL.${port}`) },
    );
    if (tls === undefined) {
      this.#connect(client, server, number);
    } else {
      void this.#encrypt(client, server, number, tls);
    }
  }

  async #encrypt(client: Socket, server: Socket, number: number, tls: Certificate): Promise<void> {
    const sides = [client, server];
    sides.forEach((side) => this.#opening.add(side.on('error', () => undefined)));
    try {
      const [secureClient, secureServer] = await Promise.all([
        acceptTls(client, tls),
        askForTls(server, tls),
      ]);
      this.#connect(secureClient, secureServer, number);
    } catch {
      sides.forEach(reset);
    } finally {
      sides.forEach((side) => this.#opening.delete(side));
    }
  }

  #connect(client: Socket, server: Socket, number: number): void {
    const connection = new WireConnection(client, server, {
      delayMs: () => this.delayMs,
      flowing: async () => this.#frozen?.promise,
      statement: (sql) => this.#statement(sql, number),
      errorPassed: () => this.onErrorAnswer?.(),
      roundTrip: () => {
        this.roundTrips += 1;
      },
    });
    this.#connections.set(number, connection);
    void connection.closed.then(() => this.#connections.delete(number));
  }

  async #statement(sql: string, connection: number): Promise<StatementFate> {
    this.messages.push(sql);
    // A rule of this file's own rather than a parser: nothing else sends several statements at once.
    const [, begin, rest] = /^(begin[^;]*);([^]*)$/.exec(sql) ?? [];
    const parts = begin === undefined ? [sql] : [begin, rest!];
    this.statements.push(...parts.map((part) => ({ connection, sql: part })));
    try {
      await this.onStatement?.(sql, connection);
    } catch (error) {
      this.#failures.push(error);
      return 'cut';
    }
    // search() looks at no `lastIndex`, so a pattern with the g flag matches like any other.
    const hit = this.#faults.findIndex(({ pattern }) => sql.search(pattern) !== -1);
    const [fault] = hit === -1 ? [] : this.#faults.splice(hit, 1);
    return fault?.fate ?? 'forward';
  }
}
