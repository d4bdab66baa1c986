import { AsyncLocalStorage } from 'node:async_hooks';

import { ClsService, type ClsStore } from 'nestjs-cls';

import { keepOrmsApart } from '../session/asking-manager.js';
import { answerWith, type OwnRequestContext } from '../session/request-context.js';
import type { Context } from './context.js';

/** The contexts that the current code runs in, one for each application, innermost first. */
interface Entry extends ClsStore {
  /** The application; two applications in one process do not see each other's contexts. */
  readonly owner: object;
  readonly context: Context | undefined;
  /** What MikroORM's `RequestContext` answers with; `undefined` where the application has no global manager. */
  readonly requestContext: OwnRequestContext | undefined;
  readonly outer: Entry | undefined;
}

/**
 * A CLS store of the library's own (W4): what the application does to its store (`runWith()`,
 * `exit()`, `ifNested`) does not reach this one, and the other way round.
 */
const cls = new ClsService<Entry>(new AsyncLocalStorage());

keepOrmsApart();
answerWith(() => cls.get<Entry | undefined>()?.requestContext);

/**
 * The context of `owner` that the current code runs in.
 *
 * @param fallback where the code runs in none, and was not put outside of any on purpose
 */
export function currentContext(owner: object, fallback?: Context): Context | undefined {
  let entry: Entry | undefined = cls.get();
  while (entry !== undefined && entry.owner !== owner) {
    entry = entry.outer;
  }
  return entry === undefined ? fallback : entry.context;
}

/** How many contexts of other applications the current code has entered inside of one of `owner`. */
export function depthOf(owner: object): number {
  let depth = 0;
  for (let entry: Entry | undefined = cls.get(); entry !== undefined; entry = entry.outer) {
    if (entry.owner === owner) {
      return depth;
    }
    depth += 1;
  }
  return Infinity;
}

/** The context that the current code runs in, whatever application it is of. */
export function innermostContext(): Context | undefined {
  return cls.get<Entry | undefined>()?.context;
}

/**
 * Runs `callback` with `context` as the current one of `owner`; with `undefined`, outside of any.
 *
 * @param requestContext that of MikroORM; by default it stays as it is
 */
export function runWithContext<T>(
  owner: object,
  context: Context | undefined,
  callback: () => T,
  requestContext?: OwnRequestContext,
): T {
  const entry: Entry | undefined = cls.get();
  if (entry?.owner === owner && entry.context === context) {
    return callback();
  }
  const inner: Entry = {
    owner,
    context,
    requestContext: requestContext ?? entry?.requestContext,
    outer: without(owner, entry),
  };
  return cls.runWith(inner, callback);
}

/** What this entry hides for good; kept, it would chain all contexts of a job that restarts itself. */
function without(owner: object, entry: Entry | undefined): Entry | undefined {
  if (entry === undefined) {
    return undefined;
  }
  const outer = without(owner, entry.outer);
  return entry.owner === owner ? outer : { ...entry, outer };
}
