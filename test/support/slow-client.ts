import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';

/** A client that reads the body of a response only when it is told to. */
export class SlowClient {
  readonly response: IncomingMessage;
  #received = '';
  readonly #closed: Promise<unknown>;

  private constructor(response: IncomingMessage) {
    this.response = response;
    // A response that is cut emits an error as well; `isComplete` says the same.
    response.on('error', () => undefined);
    this.#closed = once(response, 'close').catch(() => undefined);
    response.setEncoding('utf8');
  }

  /** Sends a request, and reads the head of its response and no more. */
  static async open(url: string): Promise<SlowClient> {
    const request = get(url, { agent: false });
    request.on('error', () => undefined);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.pause();
    return new SlowClient(response);
  }

  /** Whether the response came to its end, rather than being cut. */
  get isComplete(): boolean {
    return this.response.complete;
  }

  /** Reads to the end, or until the response is cut. */
  async readAll(): Promise<string> {
    this.response.on('data', (chunk: string) => {
      this.#received += chunk;
    });
    // It was paused on purpose, and a listener does not end that.
    this.response.resume();
    await this.#closed;
    return this.#received;
  }

  /** Goes away. */
  leave(): void {
    this.response.destroy();
  }
}
