import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
/** The first byte of a TLS handshake, with which a connection begins that negotiates nothing. */
const HANDSHAKE = 22;

/**
 * A front before a PostgreSQL server that lets nothing pass but TLS, as a cloud provider has it: a
 * connection that begins otherwise is closed.
 */
export class TlsFront {
  /** The first bytes of each connection that was let through, as text: `SSLRequest` or `TLS`. */
  readonly passed: string[] = [];
  /** The first bytes of each connection that was refused. */
  readonly refused: Buffer[] = [];
  readonly #serverUrl: URL;
  readonly #listener = createServer((client) => void this.#accept(client));
  readonly #sockets = new Set<Socket>();

  private constructor(serverUrl: URL) {
    this.#serverUrl = serverUrl;
  }

  static async start(serverUrl: string): Promise<TlsFront> {
    const front = new TlsFront(new URL(serverUrl));
    front.#listener.listen(0, '127.0.0.1');
    await once(front.#listener, 'listening');
    return front;
  }

  /** The URL of the server, pointed at this front. */
  get url(): string {
    const url = new URL(this.#serverUrl);
    url.hostname = '127.0.0.1';
    url.port = String((this.#listener.address() as AddressInfo).port);
    return url.href;
  }

  async stop(): Promise<void> {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.#sockets.forEach((socket) => socket.destroy());
    await closed;
  }

  async #accept(client: Socket): Promise<void> {
    this.#keep(client);
    const [first] = (await once(client, 'data').catch(() => [])) as [Buffer?];
    const kind =
      first === undefined
        ? undefined
        : first.equals(SSL_REQUEST)
          ? 'SSLRequest'
          : first[0] === HANDSHAKE
            ? 'TLS'
            : undefined;
    if (first === undefined || kind === undefined) {
      this.refused.push(first ?? Buffer.alloc(0));
      client.destroy();
      return;
    }
    this.passed.push(kind);
    const server = connect(Number(this.#serverUrl.port), this.#serverUrl.hostname);
    this.#keep(server);
    server.write(first);
    client.pipe(server).pipe(client);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
