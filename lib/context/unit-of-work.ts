import type { EntityManager } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import type { DbContainer, Decision } from './container.js';
import type { ContextHost } from './context-host.js';
import { withRetry, type RetryOptions } from './retry.js';

/** How a context of one's own is opened and ends. */
export interface OwnContextOptions<T> {
  readonly commitOn?: ((result: T) => boolean) | undefined;
  readonly retry?: RetryOptions | undefined;
}

/**
 * Runs `callback` in a context of its own, and settles it; each attempt has its own.
 *
 * @param origin what it is for, for messages
 */
export async function runInOwnContext<T>(
  host: ContextHost,
  origin: string,
  callback: () => T | Promise<T>,
  { commitOn, retry }: OwnContextOptions<T> = {},
): Promise<T> {
  return withRetry(retry, () => {
    const container = host.open(origin);
    return {
      run: () => runAndSettle(host, container, callback, commitOn),
      isUndone: () => container.earlyCommits === 0,
    };
  });
}

/**
 * Runs `callback` in a context that has just been opened, once, and settles it.
 *
 * @param commitOn whether a result commits; what is thrown always rolls back
 */
export async function runAndSettle<T>(
  host: ContextHost,
  container: DbContainer,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean = () => true,
): Promise<T> {
  const decide = (result: T): Decision => decisionOf(commitOn(result), container.origin);
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
  const container = host.openDetached(
    decision === 'commit' ? 'newAtomicSession()' : 'newSession()',
  );
  const run = (): T | Promise<T> => callback(container.session(connectionName).manager);
  return settleAfter(host, container, run, () => decision);
}

/**
 * What the answer of a `commitOn` means.
 *
 * @throws {@link InvalidOptionsError} it is a promise, which would be taken for a yes
 */
export function decisionOf(commits: unknown, origin: string): Decision {
  if (typeof (commits as { readonly then?: unknown } | null | undefined)?.then === 'function') {
    throw new InvalidOptionsError(
      `commitOn returned a promise for ${origin}. It decides at once, by what it is given; what takes ` +
        'time can veto the commit in a beforeCommit hook.',
    );
  }
  return commits ? 'commit' : 'rollback';
}

async function settleAfter<T>(
  host: ContextHost,
  container: DbContainer,
  work: () => T | Promise<T>,
  decide: (result: T) => Decision,
): Promise<T> {
  const run = async (): Promise<T> => {
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
  };
  return host.limitsContexts ? unlessExpired(container, run) : run();
}

/** @throws {@link ContextTimeoutError} the context has been open for too long, and was rolled back */
async function unlessExpired<T>(container: DbContainer, run: () => Promise<T>): Promise<T> {
  const expired = new Promise<never>((_, reject) => {
    container.onExpire = reject;
  });
  return Promise.race([run(), expired]);
}
