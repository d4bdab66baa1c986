import type { EntityManager } from '@mikro-orm/core';

import type { TransactionWatch } from '../transaction/begin-plan.js';

/** Looks for misuse of one session in development. */
export interface SessionWatch extends TransactionWatch {
  flushBegins(): void;
  flushEnds(): void;
  /** A manager was made of the session, or of a fork of it, that has entities of its own. */
  forked(fork: EntityManager): void;
}

/**
 * Whether a fork that is made with these options is for work that nobody else would save. Forks that MikroORM
 * makes for itself keep the transaction, and a copy has the pending entities of the original. One with
 * `useContext` has work of its own in a `RequestContext` that was opened with it.
 */
export function hasWorkOfItsOwn(options: Parameters<EntityManager['fork']>[0] = {}): boolean {
  return options.keepTransactionContext !== true && options.clear !== false;
}
