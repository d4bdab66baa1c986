import type { EntityManager } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import type { RetryOptions } from '../options/retry-options.js';
import type { DbContainer, Decision } from './container.js';
import type { ContextHost } from './context-host.js';
import { withRetry } from './retry.js';

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
export function runInOwnContext<T>(
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
export function runAndSettle<T>(
  host: ContextHost,
  container: DbContainer,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean = always,
): Promise<T> {
  const expired = host.limitsContexts ? untilExpired(container) : undefined;
  const settled = runThenSettle(host, container, callback, commitOn);
  return expired === undefined ? settled : Promise.race([settled, expired]);
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
  return runAndSettle(host, container, run, decision === 'commit' ? always : never);
}

const always = (): boolean => true;
const never = (): boolean => false;

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

async function runThenSettle<T>(
  host: ContextHost,
  container: DbContainer,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean,
): Promise<T> {
  let result: T;
  let decision: Decision;
  try {
    // Of a session in no context, the code goes on in whatever context it is in.
    result = await (container.isDetached ? callback() : host.runIn(container, callback));
    decision = decisionOf(commitOn(result), container.origin);
  } catch (error) {
    await host.abandon(container);
    throw error;
  }
  await host.settle(container, decision);
  return result;
}

/** @throws {@link ContextTimeoutError} the context has been open for too long, and was rolled back */
function untilExpired(container: DbContainer): Promise<never> {
  return new Promise((_, reject) => {
    container.onExpire = reject;
  });
}
