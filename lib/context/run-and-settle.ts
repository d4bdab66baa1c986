import type { EntityManager } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import type { Context, Decision } from './context.js';
import type { ContextRegistry } from './context-registry.js';
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
export function runInOwnContext<T>(
  host: ContextRegistry,
  origin: string,
  callback: () => T | Promise<T>,
  { commitOn, retry }: OwnContextOptions<T> = {},
): Promise<T> {
  return withRetry(retry, () => {
    const context = host.open(origin);
    return {
      run: () => runAndSettle(host, context, callback, commitOn),
      isUndone: () => context.earlyCommits === 0,
    };
  });
}

/**
 * Runs `callback` in a context that has just been opened, once, and settles it.
 *
 * @param commitOn whether a result commits; what is thrown always rolls back
 */
export function runAndSettle<T>(
  host: ContextRegistry,
  context: Context,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean = always,
): Promise<T> {
  const expired = host.limitsContexts ? untilExpired(context) : undefined;
  const settled = runThenSettle(host, context, callback, commitOn);
  return expired === undefined ? settled : Promise.race([settled, expired]);
}

/** Runs `callback` with a session that is in no context, and settles that. */
export async function runDetached<T>(
  host: ContextRegistry,
  connectionName: string,
  decision: Decision,
  callback: (manager: EntityManager) => T | Promise<T>,
): Promise<T> {
  host.connections.factory(connectionName);
  const context = host.openDetached(
    decision === 'commit' ? 'newAtomicSession()' : 'newSession()',
  );
  const run = (): T | Promise<T> => callback(context.session(connectionName).manager);
  return runAndSettle(host, context, run, decision === 'commit' ? always : never);
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
  host: ContextRegistry,
  context: Context,
  callback: () => T | Promise<T>,
  commitOn: (result: T) => boolean,
): Promise<T> {
  let result: T;
  let decision: Decision;
  try {
    // Of a session in no context, the code goes on in whatever context it is in.
    result = await (context.isDetached ? callback() : host.runIn(context, callback));
    decision = decisionOf(commitOn(result), context.origin);
  } catch (error) {
    await host.abandon(context);
    throw error;
  }
  await host.settle(context, decision);
  return result;
}

/** @throws {@link ContextTimeoutError} the context has been open for too long, and was rolled back */
function untilExpired(context: Context): Promise<never> {
  return new Promise((_, reject) => {
    context.onExpire = reject;
  });
}
