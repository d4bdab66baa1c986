import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager } from '@mikro-orm/core';

import type { TransactionScope } from './scope.js';

/**
 * One `em.transactional()` that the current code runs in, its hooks and its final flush included.
 * MikroORM keeps only the innermost one, whichever database it is of; this list keeps one per
 * session.
 */
export interface Nesting {
  /** The session that `transactional()` was called on. */
  readonly session: EntityManager;
  /** The fork that MikroORM makes for the callback, as soon as it is known. */
  fork?: EntityManager;
  /** Its savepoint, as soon as it is asked for; none for a transaction of its own. */
  scope?: TransactionScope;
  /** Whether `transactional()` has returned. */
  isOver: boolean;
  readonly outer: Nesting | undefined;
}

const storage = new AsyncLocalStorage<Nesting>();

/** Runs `transactional` as a nested transaction of `session`. */
export function runNested<T>(
  session: EntityManager,
  transactional: (nesting: Nesting) => Promise<T>,
): Promise<T> {
  let outer = storage.getStore();
  // Those that are over would be kept for ever by a job that restarts itself.
  while (outer?.isOver === true) {
    ({ outer } = outer);
  }
  const nesting: Nesting = { session, isOver: false, outer };
  return storage.run(nesting, async () => {
    try {
      return await transactional(nesting);
    } finally {
      // MikroORM ends no savepoint whose begin failed after it had been set, by a subscriber.
      await nesting.scope?.undo();
      nesting.isOver = true;
    }
  });
}

/** Makes `scope` the savepoint of the nested transaction that is being opened here, if one is. */
export function claimNesting(scope: TransactionScope): void {
  const nesting = storage.getStore();
  if (nesting !== undefined && nesting.fork === undefined) {
    nesting.scope ??= scope;
  }
}

/** The session whose nested transaction is being opened here, if one is. */
export function sessionBeingNested(): EntityManager | undefined {
  const nesting = storage.getStore();
  return nesting?.fork === undefined ? nesting?.session : undefined;
}

/** The fork of the innermost nested transaction of `session` that the current code runs in. */
export function innermostFork(session: EntityManager): EntityManager | undefined {
  for (let each = storage.getStore(); each !== undefined; each = each.outer) {
    if (each.session === session && each.fork !== undefined) {
      return each.fork;
    }
  }
  return undefined;
}

/** The innermost savepoint below `ancestor` that the current code runs in, also if it has ended. */
export function innermostScope(ancestor: TransactionScope): TransactionScope | undefined {
  for (let each = storage.getStore(); each !== undefined; each = each.outer) {
    if (each.scope?.isWithin(ancestor) === true) {
      return each.scope;
    }
  }
  return undefined;
}
