import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

const STARTUP_HEADER_BYTES = 8;

/**
 * A TCP proxy in front of a PostgreSQL server that ignores which database a client asks for, as the
 * socket of PGlite does: while `database` is set, all new connections are led to that one.
 *
 * @example
 * ```ts
 * const proxy = await OneDatabaseProxy.start(serverUrl);
 * proxy.database = 'postgres';
 * // ... connect to proxy.url
 * await proxy.stop();
 * ```
 */
export class OneDatabaseProxy {
  /** Where new connections are led to; undefined: where they ask for. */
  database: string | undefined;
  /** Whether new connections are cut at once, as where the server is down. */
  isRefusing = false;
  readonly #serverUrl: URL;
  readonly #listener: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(serverUrl: URL) {
    this.#serverUrl = serverUrl;
    this.#listener = createServer((client) => this.#accept(client));
  }

  static async start(serverUrl: string): Promise<OneDatabaseProxy> {
    const proxy = new OneDatabaseProxy(new URL(serverUrl));
    proxy.#listener.listen(0, '127.0.0.1');
    await once(proxy.#listener, 'listening');
    return proxy;
  }

  /** The URL of the server, by way of the proxy. */
  get url(): string {
    const url = new URL(this.#serverUrl);
    url.hostname = '127.0.0.1';
    url.port = String((this.#listener.address() as AddressInfo).port);
    return url.href;
  }

  /** Cuts all connections that there are; the proxy goes on. */
  cut(): void {
    this.#sockets.forEach((socket) => socket.destroy());
  }

  async stop(): Promise<void> {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.cut();
    await closed;
  }

  #accept(client: Socket): void {
    if (this.isRefusing) {
      client.destroy();
      return;
    }
    const server = connect(Number(this.#serverUrl.port), this.#serverUrl.hostname);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.once('data', (startup: Buffer) => {
      server.write(this.database === undefined ? startup : renamed(startup, this.database));
      client.pipe(server);
    });
    server.pipe(client);
  }
}

/** The first message of a client, with another name of the database in it. */
function renamed(startup: Buffer, database: string): Buffer {
  const fields = startup.subarray(STARTUP_HEADER_BYTES).toString().split('\0');
  fields[fields.indexOf('database') + 1] = database;
  const body = Buffer.from(fields.join('\0'));
  const header = Buffer.from(startup.subarray(0, STARTUP_HEADER_BYTES));
  header.writeInt32BE(STARTUP_HEADER_BYTES + body.length, 0);
  return Buffer.concat([header, body]);
}
