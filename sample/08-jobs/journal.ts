/** Who has done something. */
export type Actor = 'request' | 'worker' | 'outbox' | 'cron';

/** What happens, in order, for the reader of the sample. */
export class Journal {
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  write(actor: Actor, text: string): void {
    this.#print(`${actor.padEnd(8)} ${text}`);
  }
}
