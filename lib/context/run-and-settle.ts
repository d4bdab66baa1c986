import type { EntityManager } from '@mikro-orm/core';

import type { Context } from './context.js';
import { endBy, type Decision, type EndOptions } from './end-by.js';
import type { RetryOptions } from '../options/retry-options.js';
import { withRetry } from './retry.js';

/** What opens contexts, and ends them. */
interface ContextRunner {
  readonly connections: { factory(name: string): unknown };
  open(origin: string): Context;
  openDetached(origin: string): Context;
  runIn<T>(context: Context, callback: () => T): T;
  settle(context: Context, decision: Decision): Promise<void>;
  abandon(context: Context): Promise<void>;
}

/** How a context of one's own is opened and ends. */
export interface OwnContextOptions<T> extends EndOptions<T> {
  readonly retry?: RetryOptions | undefined;
}

/**
 * Runs `callback` in a context of its own, and settles it (C3); each attempt has its own.
 *
 * @param origin what it is for, for messages
 */
export function runInOwnContext<T>(
  registry: ContextRunner,
  origin: string,
  callback: () => T | Promise<T>,
  { retry, ...ends }: OwnContextOptions<T> = {},
): Promise<T> {
  return withRetry(retry, origin, () => {
    const context = registry.open(origin);
    return {
      run: () => runAndSettle(registry, context, callback, ends),
      isUndone: () => context.earlyCommits === 0,
    };
  });
}

/** Runs `callback` in a context that has just been opened, once, and settles it. */
export function runAndSettle<T>(
  registry: ContextRunner,
  context: Context,
  callback: () => T | Promise<T>,
  options: EndOptions<T> = {},
): Promise<T> {
  const expired = untilExpired(context);
  const ends = {
    origin: context.origin,
    commit: () => registry.settle(context, 'commit'),
    rollback: () => registry.settle(context, 'rollback'),
    abandon: () => registry.abandon(context),
  };
  // Beside a session in no context, the code goes on in the context that it is in.
  const settled = endBy(ends, options, () =>
    context.isDetached ? callback() : registry.runIn(context, callback),
  );
  return Promise.race([settled, expired]);
}

/** Runs `callback` with a session that is in no context, and settles that (C4). */
export async function runDetached<T>(
  registry: ContextRunner,
  connectionName: string,
  decision: Decision,
  callback: (manager: EntityManager) => T | Promise<T>,
): Promise<T> {
  registry.connections.factory(connectionName);
  const commits = decision === 'commit';
  const context = registry.openDetached(commits ? 'newAtomicSession()' : 'newSession()');
  const run = (): T | Promise<T> => callback(context.session(connectionName).manager);
  return runAndSettle(registry, context, run, { commitOn: () => commits });
}

/**
 * @throws {@link ContextTimeoutError}, {@link ShuttingDownError} the context has been open for too long,
 *   and was rolled back
 */
function untilExpired(context: Context): Promise<never> {
  return new Promise((_, reject) => {
    context.onExpire = reject;
  });
}
