import type { AsyncLocalStorage } from 'node:async_hooks';

import { RequestContext, TransactionContext, type EntityManager } from '@mikro-orm/core';

/** Finds the manager of a context name; `undefined` where the calling code runs in no context. */
type FindManager = (contextName: string) => EntityManager | undefined;

/** The managers of a context, and behind them those of the request context around it. */
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

/** What MikroORM's `RequestContext` answers with in one context: it is what that context is known by. */
export class ContextRequest extends RequestContext {
  readonly outer: RequestContext | undefined;

  /** @param find finds the managers of the context */
  constructor(find: FindManager, outer: RequestContext | undefined) {
    super(new ManagerMap(find, outer));
    this.outer = outer;
  }
}

/** The contexts of one application, as MikroORM's `RequestContext` asks for them. */
export interface RequestSource {
  /** The manager of a context name in the current context; `undefined` where the calling code runs in none. */
  find(contextName: string): EntityManager | undefined;
  /** What the current context is known by; `undefined` where the calling code runs in none. */
  current(outer: RequestContext | undefined): RequestContext | undefined;
}

/**
 * Stands for MikroORM's `RequestContext` around the code of the contexts of an application, one for all of them:
 * MikroORM finds that of the current one. `@EnsureRequestContext()` looks for it, and `@Transactional()` in a class
 * that has no property with an entity manager.
 */
export class OwnRequestContext extends RequestContext {
  readonly source: RequestSource;
  readonly outer: RequestContext | undefined;

  constructor(source: RequestSource, outer?: RequestContext) {
    super(new ManagerMap((contextName) => source.find(contextName), outer));
    this.source = source;
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
  ownAnswer = () => before() ?? find();
  shownAnswer = () => shown(ownAnswer());
  RequestContext.currentRequestContext = shownAnswer;
}

type Answer = () => RequestContext | undefined;

let ownAnswer: Answer = () => undefined;
let shownAnswer: Answer | undefined;

/** The request context around the calling code, which no context makes one of its own for. */
function currentRequest(): RequestContext | undefined {
  const isOwn = RequestContext.currentRequestContext === shownAnswer;
  const seen = isOwn ? undefined : RequestContext.currentRequestContext();
  return isOwn || seen instanceof ContextRequest ? ownAnswer() : seen;
}

/** What code of the application sees of a request context. */
function shown(context: RequestContext | undefined): RequestContext | undefined {
  return context instanceof OwnRequestContext
    ? (context.source.current(context.outer) ?? shown(context.outer))
    : context;
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
  const current = currentRequest();
  if (current instanceof OwnRequestContext && current.source === own.source) {
    return callback(current);
  }
  const outer = without(own.source, current);
  const entered = outer === undefined ? own : new OwnRequestContext(own.source, outer);
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
  source: RequestSource,
  context: RequestContext | undefined,
): RequestContext | undefined {
  if (!(context instanceof OwnRequestContext)) {
    return context;
  }
  const outer = without(source, context.outer);
  if (context.source === source) {
    return outer;
  }
  return outer === context.outer ? context : new OwnRequestContext(context.source, outer);
}
