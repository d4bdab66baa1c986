import type { EntityManager } from '@mikro-orm/core';

import { isManagedIn } from './managed-entities.js';

/**
 * Hands on what a nested transaction that has failed was to remove because nothing leads to it any more: the entities
 * keep what the callback has made of them, as with MikroORM by itself, and the next flush removes the orphans.
 *
 * @param around the manager around the callback
 */
export function keepOrphans(fork: EntityManager, around: EntityManager): void {
  const uow = around.getUnitOfWork(false);
  for (const orphan of fork.getUnitOfWork(false).getOrphanRemoveStack()) {
    // Those of a transaction of its own (`requires_new`) are none of the other's.
    if (isManagedIn(uow.getIdentityMap(), orphan)) {
      uow.scheduleOrphanRemoval(orphan);
    }
  }
}
