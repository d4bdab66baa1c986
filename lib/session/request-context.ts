import type { AsyncLocalStorage } from 'node:async_hooks';

import { RequestContext, TransactionContext, type EntityManager } from '@mikro-orm/core';

/** Finds the manager of a context name; `undefined` where the calling code runs in no context. */
type FindManager = (contextName: string) => EntityManager | undefined;

/** The managers of the current context, and behind them those of the request context around it. */
class ManagerMap extends Map<string, EntityManager> {
  readonly #find: FindManager;
  readonly #outer: RequestContext | undefined;

  constructor(find: FindManager, outer: RequestContext | undefined) {
    super();
    this.#find = find;
    this.#outer = outer;
  }

  override get(contextName: string): EntityManager | undefined {
    return this.#find(contextName) ?? this.#outer?.map.get(contextName);
  }
}

/**
 * MikroORM's `RequestContext` around the code of a context. `@EnsureRequestContext()` finds it, and
 * `@Transactional()` in a class that has no property with an entity manager.
 */
export class OwnRequestContext extends RequestContext {
  readonly find: FindManager;
  readonly outer: RequestContext | undefined;

  constructor(find: FindManager, outer?: RequestContext) {
    super(new ManagerMap(find, outer));
    this.find = find;
    this.outer = outer;
  }
}

/**
 * Storages of MikroORM that cannot be set otherwise to a value that exists already.
 * `test/e2e/mikro-orm-surface.spec.ts` fails when an upgrade changes them.
 */
interface WithStorage<T> {
  readonly storage: AsyncLocalStorage<T | undefined>;
}

/**
 * Makes MikroORM's `RequestContext` answer with that of a context where its own storage is empty. A context would
 * otherwise enter two storages, and each one that the code runs in takes time with every further one.
 *
 * @param find what belongs to the context that the calling code runs in
 */
export function answerWith(find: () => OwnRequestContext | undefined): void {
  // A second copy of the library in the process has put its own in its place.
  const before = RequestContext.currentRequestContext.bind(RequestContext);
  RequestContext.currentRequestContext = () => before() ?? find();
}

/** What the calling code has entered itself, or the library where that had to be shadowed. */
export function enteredRequestContext(): RequestContext | undefined {
  return storageOf<RequestContext>(RequestContext).getStore();
}

/**
 * Runs the code of a context so that MikroORM's own statics answer with its sessions.
 *
 * @param own of the application
 * @param around the manager of MikroORM's `TransactionContext` that the context was opened in; the code of
 *   the context does not run in that transaction (C3)
 * @param callback runs the code; what it is given is what `answerWith()` has to find there
 */
export function runAsRequest<T>(
  own: OwnRequestContext,
  around: EntityManager | undefined,
  callback: (requestContext: OwnRequestContext) => T,
): T {
  return around !== undefined && TransactionContext.currentTransactionContext()?.em === around
    ? outsideTransactionContext(() => enter(own, callback))
    : enter(own, callback);
}

/** Runs `callback` in no `TransactionContext`. */
export function outsideTransactionContext<T>(callback: () => T): T {
  return storageOf<TransactionContext>(TransactionContext).run(undefined, callback);
}

function enter<T>(own: OwnRequestContext, callback: (requestContext: OwnRequestContext) => T): T {
  const current = RequestContext.currentRequestContext();
  if (current instanceof OwnRequestContext && current.find === own.find) {
    return callback(current);
  }
  const outer = without(own.find, current);
  const entered = outer === undefined ? own : new OwnRequestContext(own.find, outer);
  // What stands in the storage is found first, and so is what a second copy of the library has found.
  const isFoundFirst =
    enteredRequestContext() !== undefined ||
    (current !== undefined && !(current instanceof OwnRequestContext));
  return isFoundFirst
    ? storageOf<RequestContext>(RequestContext).run(entered, () => callback(entered))
    : callback(entered);
}

function storageOf<T>(statics: unknown): AsyncLocalStorage<T | undefined> {
  return (statics as WithStorage<T>).storage;
}

/** What is around the request contexts of an application; kept, they would form an endless chain. */
function without(
  find: FindManager,
  context: RequestContext | undefined,
): RequestContext | undefined {
  if (!(context instanceof OwnRequestContext)) {
    return context;
  }
  const outer = without(find, context.outer);
  if (context.find === find) {
    return outer;
  }
  return outer === context.outer ? context : new OwnRequestContext(context.find, outer);
}
