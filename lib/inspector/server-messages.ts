import type { ErrorInfo } from '../telemetry/error-info.js';

/** A request whose statements fail again and again is mostly refused for the same few reasons. */
const MOST_MESSAGES = 100;

/**
 * What the server has answered to the statements of a request, as events show it. An error that the application
 * throws may have the fields of the server's and a message of its own.
 */
export class ServerMessages {
  readonly #heard = new Set<string>();

  add({ message }: ErrorInfo): void {
    this.#heard.add(message);
    const [oldest] = this.#heard;
    if (this.#heard.size > MOST_MESSAGES && oldest !== undefined) {
      this.#heard.delete(oldest);
    }
  }

  has({ message }: ErrorInfo): boolean {
    return this.#heard.has(message);
  }
}
