import { ReferenceKind, type EntityManager } from '@mikro-orm/core';

import { ReadOnlyTransactionError } from '../errors.js';
import { asKyselyTransaction } from './kysely-transaction.js';

/**
 * Looks before MikroORM does whether a flush in a read-only transaction would write: an entity that
 * was changed shows only in what a flush computes. A hook may still add changes; those are for the
 * server to refuse (25006).
 *
 * @throws {@link ReadOnlyTransactionError}
 */
export function assertMayFlush(manager: EntityManager): void {
  const part = asKyselyTransaction(manager.getTransactionContext())?.part;
  if (part?.whole.isReadOnly !== true) {
    return;
  }
  const uow = manager.getUnitOfWork(false);
  uow.computeChangeSets();
  const changed = [
    ...uow.getChangeSets().map((changeSet) => changeSet.meta.className),
    // In other collections the side that changed is an entity, and among the above.
    ...uow
      .getCollectionUpdates()
      .filter(({ property }) => property.kind === ReferenceKind.MANY_TO_MANY)
      .map(({ owner }) => owner.constructor.name),
    ...[...uow.getExtraUpdates()].map(([entity]) => entity.constructor.name),
  ];
  if (changed.length > 0) {
    throw new ReadOnlyTransactionError(part.connectionName, [...new Set(changed)]);
  }
}
