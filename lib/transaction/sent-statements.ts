import type { HiddenCode } from '../postgresql/hidden-code.js';
import type { Server } from './server.js';

/** How many statements are remembered; a longer transaction is taken for one that writes. */
const MOST_REMEMBERED = 100;

/** The first statements of a transaction, to know whether it can have written. */
export class SentStatements {
  readonly #server: Server;
  readonly #texts: string[] = [];

  constructor(server: Server) {
    this.#server = server;
  }

  add(sql: string): void {
    if (this.#texts.length <= MOST_REMEMBERED) {
      this.#texts.push(sql);
    }
  }

  /**
   * Whether none of them can have written.
   *
   * @param hidden the names behind which code may hide; by default only the texts are judged
   */
  areReads(hidden?: HiddenCode): boolean {
    return (
      this.#texts.length <= MOST_REMEMBERED &&
      this.#texts.every((sql) => this.#server.isPlainRead(sql, hidden))
    );
  }
}
