import type { ErrorInfo } from '../telemetry/error-info.js';
import { bytesOfText, shortened } from './kept-text.js';

/** A request whose statements fail again and again is mostly refused for the same few reasons. */
const MOST_MESSAGES = 100;

/**
 * What the server has answered to the statements of a request, as events show it. An error that the application
 * throws may have the fields of the server's and a message of its own.
 */
export class ServerMessages {
  readonly #heard = new Set<string>();

  /** @returns how many bytes it takes, about; negative where a longer one gives way */
  add({ message }: ErrorInfo): number {
    const text = shortened(message);
    if (this.#heard.has(text)) {
      return 0;
    }
    this.#heard.add(text);
    const [oldest] = this.#heard;
    if (this.#heard.size <= MOST_MESSAGES || oldest === undefined) {
      return bytesOfText(text);
    }
    this.#heard.delete(oldest);
    return bytesOfText(text) - bytesOfText(oldest);
  }

  has({ message }: ErrorInfo): boolean {
    return this.#heard.has(shortened(message));
  }
}
