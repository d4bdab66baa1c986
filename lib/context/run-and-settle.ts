import type { EntityManager } from '@mikro-orm/core';

import type { Context } from './context.js';
import { endBy, type Decision, type EndOptions, type Ends } from './end-by.js';
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

/**
 * Runs `callback` in a context that has just been opened, once, and settles it.
 *
 * @throws {@link ContextTimeoutError}, {@link ShuttingDownError} the context has been open for too long,
 *   and was rolled back
 */
export function runAndSettle<T>(
  registry: ContextRunner,
  context: Context,
  callback: () => T | Promise<T>,
  options: EndOptions<T> = {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    // One that has been open for too long is rolled back, and its code may never return.
    context.onExpire = reject;
    // Beside a session in no context, the code goes on in the context that it is in.
    void endBy(new ContextEnds(registry, context), options, () =>
      context.isDetached ? callback() : registry.runIn(context, callback),
    ).then(resolve, reject);
  });
}

/** The ends of a context, as long as it is open: one object, as thousands may be open at the same time. */
class ContextEnds implements Ends {
  readonly #registry: ContextRunner;
  readonly #context: Context;

  constructor(registry: ContextRunner, context: Context) {
    this.#registry = registry;
    this.#context = context;
  }

  get origin(): string {
    return this.#context.origin;
  }

  commit(): Promise<void> {
    return this.#registry.settle(this.#context, 'commit');
  }

  rollback(): Promise<void> {
    return this.#registry.settle(this.#context, 'rollback');
  }

  abandon(): Promise<void> {
    return this.#registry.abandon(this.#context);
  }
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
