import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager } from '@mikro-orm/core';

import type { TransactionScope } from './scope.js';

/**
 * One `em.transactional()` that the current code runs in. MikroORM keeps only the innermost one,
 * whichever database it is of; this list keeps one per session.
 */
interface Nesting {
  /** The session that `transactional()` was called on. */
  readonly session: EntityManager;
  /** The fork that MikroORM made for the callback. */
  readonly fork: EntityManager;
  /** The savepoint of the callback; none where MikroORM opened a transaction of its own. */
  readonly scope: TransactionScope | undefined;
  readonly outer: Nesting | undefined;
}

const storage = new AsyncLocalStorage<Nesting>();

/** Runs `callback` as the inside of a nested transaction of `session`. */
export function runNested<T>(
  nesting: Omit<Nesting, 'outer'>,
  callback: () => Promise<T>,
): Promise<T> {
  return storage.run({ ...nesting, outer: storage.getStore() }, callback);
}

/** The fork of the innermost nested transaction of `session` that the current code runs in. */
export function innermostFork(session: EntityManager): EntityManager | undefined {
  for (let each = storage.getStore(); each !== undefined; each = each.outer) {
    if (each.session === session) {
      return each.fork;
    }
  }
  return undefined;
}

/** The innermost savepoint below `ancestor` that the current code runs in. */
export function innermostScope(ancestor: TransactionScope): TransactionScope | undefined {
  for (let each = storage.getStore(); each !== undefined; each = each.outer) {
    if (each.scope?.isWithin(ancestor) === true) {
      return each.scope;
    }
  }
  return undefined;
}
