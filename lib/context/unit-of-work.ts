import type { EntityManager } from '@mikro-orm/core';

import type { SessionFactory } from '../session/session-factory.js';
import type { DbContainer } from './container.js';
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
  return withRetry(retry, () => runAndSettle(host, host.open(), callback, commitOn));
}

/**
 * Runs `callback` in a context that has just been opened, and settles it.
 *
 * @param commitOn whether a result commits; what is thrown always rolls back
 */
export async function runAndSettle<T>(
  host: ContextHost,
  container: DbContainer,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean = () => true,
): Promise<T> {
  let result: T;
  let commits: boolean;
  try {
    result = await host.runIn(container, async () => callback());
    commits = commitOn(result);
  } catch (error) {
    await host.abandon(container);
    throw error;
  }
  await host.settle(container, commits ? 'commit' : 'rollback');
  return result;
}

/**
 * Runs `callback` with a session that is in no context, and closes it.
 *
 * @param isAtomic whether it is committed when `callback` succeeds; else only what `callback`
 *   commits by itself is kept
 */
export async function runDetached<T>(
  factory: SessionFactory,
  callback: (manager: EntityManager) => T | Promise<T>,
  isAtomic: boolean,
): Promise<T> {
  const session = factory.create();
  try {
    const result = await callback(session.manager);
    if (isAtomic) {
      await session.commit();
    }
    return result;
  } finally {
    await session.close();
  }
}
