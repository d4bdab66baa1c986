import type { EntityManager } from '@mikro-orm/core';

/**
 * Whether a fork that is made with these options is for work that nobody else would save. Forks that MikroORM
 * makes for itself keep the transaction, and a copy has the pending entities of the original. One with
 * `useContext` has work of its own in a `RequestContext` that was opened with it.
 */
export function hasWorkOfItsOwn(options: Parameters<EntityManager['fork']>[0] = {}): boolean {
  return options.keepTransactionContext !== true && options.clear !== false;
}
