import type { Answer } from '../answer.js';

/** The accounts within a transaction. */
export interface Accounts {
  find(id: number): Promise<Answer>;
  insert(owner: string): Promise<unknown>;
  /** Adds 1 to the balance of an account that was found in this transaction, and saves it. */
  increment(account: Answer): Promise<Answer>;
}

/**
 * An application on another ORM, with a transaction for each request as one writes it there. The class is
 * also the injection token.
 */
export abstract class Stack {
  abstract inTransaction<T>(work: (accounts: Accounts) => Promise<T>): Promise<T>;
}
