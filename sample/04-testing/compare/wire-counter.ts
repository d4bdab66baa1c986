import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** The messages of PostgreSQL's protocol 3.0 that ask for an answer: Query, and Sync after a Parse. */
const ASKING = new Set(['Q', 'S']);

/**
 * Stands between an application and its server, and counts the round trips. See
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class WireCounter {
  roundTrips = 0;
  readonly #server: URL;
  readonly #listener: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: URL) {
    this.#server = server;
    this.#listener = createServer((client) => this.#pass(client));
  }

  static async start(serverUrl: string): Promise<WireCounter> {
    const counter = new WireCounter(new URL(serverUrl));
    counter.#listener.listen(0, '127.0.0.1');
    await once(counter.#listener, 'listening');
    return counter;
  }

  get url(): string {
    const url = new URL(this.#server);
    url.hostname = '127.0.0.1';
    url.port = String((this.#listener.address() as AddressInfo).port);
    return url.href;
  }

  async stop(): Promise<void> {
    this.#sockets.forEach((socket) => socket.destroy());
    this.#listener.close();
    await once(this.#listener, 'close');
  }

  #pass(client: Socket): void {
    const { hostname: host, port } = this.#server;
    const server = connect({ host, port: Number(port || 5432) });
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      // The other side is told by its end, which follows.
      socket.on('error', () => undefined);
    }
    let pending: Buffer = Buffer.alloc(0);
    let isStarted = false;
    client.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      for (;;) {
        // The first message has no type; the length of a message does not count its type.
        const start = isStarted ? 1 : 0;
        const length = pending.length < start + 4 ? Infinity : start + pending.readInt32BE(start);
        if (pending.length < length) {
          break;
        }
        if (isStarted && ASKING.has(String.fromCharCode(pending[0]!))) {
          this.roundTrips++;
        }
        isStarted = true;
        pending = pending.subarray(length);
      }
    });
    client.pipe(server);
    server.pipe(client);
  }
}
