import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** A client of the sample: sends a line, and waits for its answer. */
export class LineClient {
  readonly #socket: Socket;
  readonly #answers: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#answers = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async connect(port: number): Promise<LineClient> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new LineClient(socket);
  }

  async ask(line: string): Promise<string> {
    this.#socket.write(`${line}\n`);
    const { value } = await this.#answers.next();
    return value as string;
  }

  leave(): void {
    this.#socket.destroy();
  }

  /** Leaves as a process does that is killed, or a network that is lost. */
  reset(): void {
    this.#socket.on('error', () => undefined);
    this.#socket.resetAndDestroy();
  }
}
