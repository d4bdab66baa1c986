import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { deferred, type Deferred } from './deferred.js';
import { WireConnection, type StatementFate } from './wire-connection.js';

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

/**
 * A TCP proxy between a PostgreSQL client and the server: an exact log of the statements and a
 * source of faults at exact points. Speaks protocol 3.0 without encryption; requests for TLS are
 * passed on, and the server must decline them.
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

  readonly #serverUrl: URL;
  readonly #listener: Server;
  readonly #connections = new Map<number, WireConnection>();
  readonly #faults: ArmedFault[] = [];
  readonly #failures: unknown[] = [];
  #opened = 0;
  #frozen: Deferred<void> | undefined;

  private constructor(serverUrl: URL) {
    this.#serverUrl = serverUrl;
    this.#listener = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  /**
   * Starts a proxy on a free port of 127.0.0.1.
   *
   * @param serverUrl - URL of the database that it leads to
   */
  static async start(serverUrl: string): Promise<WireProxy> {
    const proxy = new WireProxy(new URL(serverUrl));
    proxy.#listener.listen(0, '127.0.0.1');
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
    if (this.#failures.length > 0) {
      throw new AggregateError(this.#failures, 'WireProxy.onStatement failed');
    }
  }

  /** The server's URL, pointed at this proxy. */
  get url(): string {
    const url = new URL(this.#serverUrl);
    url.hostname = '127.0.0.1';
    url.port = String((this.#listener.address() as AddressInfo).port);
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
      client.resetAndDestroy();
      return;
    }
    this.#opened += 1;
    const number = this.#opened;
    const server = { host: this.#serverUrl.hostname, port: Number(this.#serverUrl.port || 5432) };
    const connection = new WireConnection(client, server, {
      delayMs: () => this.delayMs,
      flowing: async () => this.#frozen?.promise,
      statement: (sql) => this.#statement(sql, number),
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
