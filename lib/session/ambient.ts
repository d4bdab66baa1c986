import { TransactionContext, type EntityManager } from '@mikro-orm/core';

import { AsyncScope } from '../transaction/async-scope.js';

/** Code that works on the session of its context, although it runs in a transaction of another one. */
class AsideScope extends AsyncScope {
  /** The manager that MikroORM's `TransactionContext` names there. */
  readonly manager: EntityManager;

  constructor(manager: EntityManager) {
    super();
    this.manager = manager;
  }
}

/**
 * The manager of MikroORM's `TransactionContext`, where the calling code is to work on that.
 *
 * @param around the manager that the context of the code was opened in; it is none of its own
 */
export function ambientManager(around: EntityManager | undefined): EntityManager | undefined {
  const manager = TransactionContext.currentTransactionContext()?.em;
  const isAside =
    manager === undefined ||
    manager === around ||
    AsyncScope.innermost(AsideScope, (scope) => scope.manager === manager) !== undefined;
  return isAside ? undefined : manager;
}

/**
 * Runs an end of a session. Its caller may run in a transaction of another session of the same database,
 * and `@InjectSession()` would go on to stand for that one (C6).
 *
 * @param own the manager of the session
 */
export function setAmbientAside<T>(own: EntityManager, work: () => T): T {
  const manager = TransactionContext.currentTransactionContext()?.em;
  return manager?.config === own.config ? new AsideScope(manager).enter(work) : work();
}
