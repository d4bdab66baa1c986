import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** One HTTP request on a socket of its own, whose bytes are seen as they come. */
export class RawClient {
  readonly #socket: Socket;
  #received = '';
  readonly #closed: Promise<unknown>;

  private constructor(socket: Socket, onBytes: () => void) {
    this.#socket = socket;
    this.#closed = once(socket, 'close');
    socket.setEncoding('utf8');
    socket.on('error', () => undefined);
    socket.on('data', (chunk: string) => {
      this.#received += chunk;
      onBytes();
    });
  }

  /**
   * Sends a GET request.
   *
   * @param url of the application, with the path
   * @param onBytes called as a piece of the response arrives
   */
  static async get(url: string, onBytes: () => void = () => undefined): Promise<RawClient> {
    const { hostname, port, pathname, search } = new URL(url);
    const socket = connect(Number(port), hostname);
    const client = new RawClient(socket, onBytes);
    await once(socket, 'connect');
    socket.write(
      `GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n\r\n`,
    );
    return client;
  }

  /** What has come of the response so far. */
  get received(): string {
    return this.#received;
  }

  /** The whole response, once the server has closed the connection. */
  async response(): Promise<string> {
    await this.#closed;
    return this.#received;
  }

  /** Goes away at once, with RST. */
  async leave(): Promise<void> {
    this.#socket.resetAndDestroy();
    await this.#closed;
  }
}
