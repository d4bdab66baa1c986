import type { EntityManager } from '@mikro-orm/core';

import type { DbContainer, Decision } from './container.js';
import type { ContextHost } from './context-host.js';
import { withRetry, type RetryOptions } from './retry.js';

interface OwnContextOptions<T> {
  readonly commitOn?: ((result: T) => boolean) | undefined;
  readonly retry?: RetryOptions | undefined;
}

/** Runs `callback` in a context of its own, and settles it; each attempt has its own. */
export async function runInOwnContext<T>(
  host: ContextHost,
  callback: () => T | Promise<T>,
  { commitOn, retry }: OwnContextOptions<T>,
): Promise<T> {
  return withRetry(retry, () => {
    const container = host.open();
    return {
      run: () => runAndSettle(host, callback, commitOn, container),
      isUndone: () => container.earlyCommits === 0,
    };
  });
}

/**
 * Runs `callback` in a context of its own, once, and settles it.
 *
 * @param commitOn whether a result commits; what is thrown always rolls back
 * @param container a new one; by default it is opened here
 */
export async function runAndSettle<T>(
  host: ContextHost,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean = () => true,
  container: DbContainer = host.open(),
): Promise<T> {
  const decide = (result: T): Decision => (commitOn(result) ? 'commit' : 'rollback');
  return settleAfter(host, container, () => host.runIn(container, callback), decide);
}

/** Runs `callback` with a session that is in no context, and settles that. */
export async function runDetached<T>(
  host: ContextHost,
  connectionName: string,
  decision: Decision,
  callback: (manager: EntityManager) => T | Promise<T>,
): Promise<T> {
  host.factory(connectionName);
  const container = host.open();
  const run = (): T | Promise<T> => callback(container.session(connectionName).manager);
  return settleAfter(host, container, run, () => decision);
}

async function settleAfter<T>(
  host: ContextHost,
  container: DbContainer,
  work: () => T | Promise<T>,
  decide: (result: T) => Decision,
): Promise<T> {
  let result: T;
  let decision: Decision;
  try {
    result = await work();
    decision = decide(result);
  } catch (error) {
    await host.abandon(container);
    throw error;
  }
  await host.settle(container, decision);
  return result;
}
