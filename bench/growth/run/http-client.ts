import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const HEAD_END = '\r\n\r\n';

/** What one client got. */
export interface Answer {
  readonly status: number;
  readonly latencyMs: number;
}

/**
 * A client with one connection that is kept, and that is open before the clock starts. It asks with GET, and
 * reads answers that state their length.
 */
export class HttpClient {
  readonly #socket: Socket;
  readonly #request: string;
  #received = '';
  #onAnswer: ((status: number) => void) | undefined;
  #onFailure: ((error: Error) => void) | undefined;

  private constructor(socket: Socket, { host, pathname }: URL) {
    this.#socket = socket;
    this.#request = `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
    socket.setEncoding('latin1');
    socket.setNoDelay(true);
    socket.on('data', (text: string) => this.#receive(text));
    const fail = (error?: Error): void =>
      this.#onFailure?.(error ?? new Error('the server has closed the connection'));
    socket.on('error', fail);
    socket.on('close', () => fail());
  }

  static async open(url: URL): Promise<HttpClient> {
    const socket = connect({ host: url.hostname, port: Number(url.port) });
    await once(socket, 'connect');
    return new HttpClient(socket, url);
  }

  /** @throws Error when the connection ends before the answer */
  async ask(): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#onAnswer = resolve;
    this.#onFailure = reject;
    const startedMs = performance.now();
    this.#socket.write(this.#request);
    const status = await promise;
    return { status, latencyMs: performance.now() - startedMs };
  }

  close(): void {
    this.#onFailure = undefined;
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#received += text;
    const headEnd = this.#received.indexOf(HEAD_END);
    const [, length] = /^content-length: (\d+)/im.exec(this.#received.slice(0, headEnd)) ?? [];
    if (headEnd === -1 || length === undefined) {
      return;
    }
    if (this.#received.length >= headEnd + HEAD_END.length + Number(length)) {
      const status = Number(this.#received.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length));
      this.#received = '';
      this.#onAnswer?.(status);
    }
  }
}
