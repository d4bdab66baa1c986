import type { EntityManager } from '@mikro-orm/postgresql';
import type { DbContext } from 'nestjs-db-context';

/** Several lines that are one transaction: its session goes from the context of one line to that of the next. */
export class Conversation {
  readonly #dbContext: DbContext;
  #session: EntityManager | undefined;
  #isOpen = false;

  constructor(dbContext: DbContext) {
    this.#dbContext = dbContext;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  begin(): void {
    this.#isOpen = true;
  }

  /** Runs the work of one line, in the session of the conversation where it is open. */
  async join<T>(work: () => Promise<T>): Promise<T> {
    this.#put();
    const isOpen = this.#isOpen;
    // A line that fails is rolled back with its context, and with it all lines before it.
    this.#isOpen = false;
    const result = await work();
    if (isOpen) {
      // The context of this line has nothing left to settle.
      this.#session = this.#dbContext.popSession();
      this.#isOpen = true;
    }
    return result;
  }

  /** Gives the session to a last context, which commits it. */
  async commit(): Promise<void> {
    if (!this.#isOpen) {
      throw new Error('no conversation is open');
    }
    this.#isOpen = false;
    await this.#dbContext.run(() => this.#put(), { name: 'the commit of a conversation' });
  }

  /** The client has left: nobody will commit what it has sent. */
  async abandon(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.rollback();
  }

  #put(): void {
    if (this.#session !== undefined) {
      this.#dbContext.putSession(this.#session);
      this.#session = undefined;
    }
  }
}
