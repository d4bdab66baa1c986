import {
  TransactionContext,
  type Configuration,
  type EntityManager,
  type RequestContext,
} from '@mikro-orm/core';

import { AsyncScope } from '../transaction/async-scope.js';
import { enteredRequestContext, OwnRequestContext } from './request-context.js';
import { innermostManager } from './session-marks.js';

/** Code that works on the session of its context, although it runs in a transaction of another one. */
class AsideScope extends AsyncScope {
  /** The manager that MikroORM's `TransactionContext` names there. */
  readonly manager: EntityManager;

  constructor(manager: EntityManager) {
    super();
    this.manager = manager;
  }
}

/** Code that has joined a context below a `RequestContext` of MikroORM, as it might have been opened there. */
class JoinScope extends AsyncScope {
  readonly request: RequestContext;

  constructor(request: RequestContext) {
    super();
    this.request = request;
  }
}

/** What of MikroORM's own contexts is none that the code of a context has entered. */
export interface Surroundings {
  /** The manager of the `TransactionContext` that the context was opened in. */
  readonly ambient: EntityManager | undefined;
  /** The `RequestContext` that the context was opened in, or its handler: that of a middleware, for example. */
  readonly ambientRequest: RequestContext | undefined;
  /** Whether its code runs before the handler: a middleware opens a `RequestContext` for all that follows. */
  readonly isBeforeHandler: boolean;
}

/**
 * The manager that MikroORM's own contexts name for a database, where the calling code has entered one
 * inside of its context: in `em.fork().transactional()`, or in `@CreateRequestContext()` (C6).
 */
export function ambientManager(
  config: Configuration,
  around: Surroundings,
): EntityManager | undefined {
  return transactionManager(config, around) ?? requestManager(config, around);
}

function transactionManager(
  config: Configuration,
  { ambient: around }: Surroundings,
): EntityManager | undefined {
  const manager = TransactionContext.currentTransactionContext()?.em;
  const isAside =
    manager === undefined ||
    manager.config !== config ||
    manager === around ||
    AsyncScope.innermost(AsideScope, (scope) => scope.manager === manager) !== undefined;
  return isAside ? undefined : innermostManager(manager);
}

function requestManager(
  config: Configuration,
  { ambientRequest, isBeforeHandler }: Surroundings,
): EntityManager | undefined {
  const current = enteredRequestContext();
  if (
    current === undefined ||
    current === ambientRequest ||
    current instanceof OwnRequestContext ||
    isBeforeHandler ||
    AsyncScope.innermost(JoinScope, (scope) => scope.request === current) !== undefined
  ) {
    return undefined;
  }
  const manager = current.map.get(config.get('contextName'));
  return manager?.config === config ? manager : undefined;
}

/**
 * Runs work that joins a context, and is settled with it: a `RequestContext` of MikroORM that its caller has
 * entered is around it, and nobody flushes what it would do there (W2).
 */
export function setRequestAside<T>(work: () => T): T {
  const request = enteredRequestContext();
  return request === undefined || request instanceof OwnRequestContext
    ? work()
    : new JoinScope(request).enter(work);
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
