import type { EntityManager } from '@mikro-orm/core';

import { InvalidOptionsError, InvalidTransactionStateError } from '../errors.js';
import {
  checkTransactionSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';
import type { Session } from '../session/session.js';
import type { CommitRefusals } from './commit-refusals.js';
import type { Context } from './context.js';
import { endBy, type Ends } from './end-by.js';
import { checkRetryOptions } from '../options/check-retry-options.js';
import type { RetryOptions } from '../options/retry-options.js';
import { withRetry } from './retry.js';

/**
 * What becomes of a transaction that is open when an atomic block begins.
 *
 * - `commit`: it is committed, and the block gets a new one;
 * - `rollback`: it is rolled back, and the block gets a new one;
 * - `append`: the block goes on in it, and commits or rolls back the whole of it;
 * - `raise`: {@link InvalidTransactionStateError};
 * - `savepoint`: the block runs in a savepoint of it, and ends only that.
 */
export type CurrentTransaction = 'commit' | 'rollback' | 'append' | 'raise' | 'savepoint';

const MODES: readonly string[] = ['commit', 'rollback', 'append', 'raise', 'savepoint'];
const ON_ERROR: readonly string[] = ['rollback', 'rollback-only'];

/** How an atomic block runs. */
export interface AtomicSettings extends TransactionSettings {
  /**
   * What becomes of a transaction that is open already.
   * @defaultValue 'commit'
   */
  readonly current?: CurrentTransaction;
  /** Runs the block again on a serialization failure or a deadlock; never by default. */
  readonly retry?: RetryOptions;
  /**
   * What becomes of the transaction that a block with `append` goes on in, when the block throws:
   * `rollback` undoes it at once, and its caller may go on in a new one; `rollback-only` leaves it
   * open and forbids its commit, as Spring does.
   * @defaultValue 'rollback'
   */
  readonly onError?: 'rollback' | 'rollback-only';
  /**
   * Whether what the block throws commits all the same; it is thrown on afterwards.
   * @defaultValue no error commits
   */
  readonly commitOnError?: (error: unknown) => boolean;
}

/** The session that a block works on: the one that the context has for a connection at the time. */
export interface AtomicTarget {
  readonly context: Context;
  readonly connectionName: string;
}

/**
 * Runs `callback` as a transaction of its own on a session, committed when it succeeds and rolled
 * back when it throws (C2). Blocks of parallel branches run one after another: they share the session.
 *
 * @param settings how it runs, and of the transaction that it begins; that stays lazy
 * @throws what `callback` throws, or why the commit failed
 * @throws {@link InvalidTransactionStateError} with `raise`, a transaction is open
 * @throws {@link InvalidOptionsError} an option has none of its values
 */
export async function runAtomic<T>(
  target: AtomicTarget,
  options: AtomicSettings,
  callback: (manager: EntityManager) => T | Promise<T>,
): Promise<T> {
  checkAtomicSettings(options, 'atomic()');
  const { current = 'commit', retry, onError = 'rollback', commitOnError, ...settings } = options;
  const { context, connectionName } = target;
  const session = context.session(connectionName);
  if (current === 'savepoint') {
    assertNoRetry(connectionName, retry);
    // Only a BEGIN can take them, and a savepoint is none: the transaction around it has to.
    session.demand(settings);
    // Savepoints of one session take turns by themselves.
    return session.manager.transactional(async (manager) => callback(manager));
  }
  session.assertNotNested('atomic');
  context.assertNotElsewhere(connectionName, 'atomic');
  context.ends.assertNotCommitting(connectionName, 'atomic');
  // What an outer part did in an appended transaction would be missing from the next attempt.
  const isShared = current === 'append' && session.hasWork;
  return context.ends.blocks.run(connectionName, () =>
    withRetry(isShared ? undefined : retry, `atomic() of ${context.origin}`, () => {
      let commitsBefore: number | undefined;
      const run = async (): Promise<T> => {
        // After a commit that failed it is another one than before.
        const own = context.session(connectionName);
        // Where this fails, what came before the block is lost, and no attempt of the block does that again.
        await makeWay(own, current, context.ends);
        commitsBefore = context.earlyCommits;
        own.demand(settings);
        const isMarked = current === 'append' && onError === 'rollback-only';
        return endBy(endsOf(target, isMarked), { commitOnError }, () => callback(own.manager));
      };
      return { run, isUndone: () => context.earlyCommits === commitsBefore };
    }),
  );
}

/**
 * Checks options at run time, for those that come from the environment, or from JavaScript.
 *
 * @param where the beginning of the error's message
 * @throws {@link InvalidOptionsError}
 */
export function checkAtomicSettings(
  { current = 'commit', retry, onError = 'rollback', commitOnError, ...settings }: AtomicSettings,
  where: string,
): void {
  checkTransactionSettings(settings, where);
  assertOneOf(`${where} has current`, current, MODES);
  assertOneOf(`${where} has onError`, onError, ON_ERROR);
  if (retry !== undefined) {
    checkRetryOptions(retry, 'retry');
  }
  if (onError === 'rollback-only' && current !== 'append') {
    throw new InvalidOptionsError(
      `${where} has onError: 'rollback-only' with current: '${current}'. It concerns the transaction that ` +
        "a block goes on in: give current: 'append', or leave onError out.",
    );
  }
  if (current === 'savepoint' && commitOnError !== undefined) {
    throw new InvalidOptionsError(
      `${where} has commitOnError with current: 'savepoint', whose end is not the block's own. Give ` +
        'commitOnError to what opened the transaction.',
    );
  }
}

/** The ends of the session that the context has by then: the block may have closed the one it began with. */
function endsOf({ context, connectionName }: AtomicTarget, isMarked: boolean): Ends {
  const restore = context.ends.remember(connectionName);
  const rollback = async (): Promise<void> => {
    await context.existing(connectionName)?.rollbackBlock();
    restore();
  };
  const abandon = isMarked ? async () => context.rollbackOnly(connectionName) : rollback;
  return {
    origin: 'atomic()',
    commit: async () => {
      const refusal = context.ends.failureOf(connectionName);
      if (refusal !== undefined) {
        // Of the block, so that it has to fail as a whole, or of what came before, after which no commit succeeds.
        await abandon();
        throw refusal;
      }
      try {
        await context.existing(connectionName)?.commitBlock();
      } catch (error) {
        if (isMarked) {
          // What the block has joined is undone with it, which the code around it may not know.
          context.rollbackOnly(connectionName);
        }
        throw error;
      }
    },
    rollback,
    abandon,
  };
}

function assertNoRetry(connectionName: string, retry: RetryOptions | undefined): void {
  if (retry !== undefined) {
    throw new InvalidTransactionStateError(
      connectionName,
      "atomic({ current: 'savepoint' }) cannot be retried: the failures that a retry is for undo the " +
        'whole transaction. Retry what opened it.',
    );
  }
}

/** Types do not reach options that come from elsewhere; another `current` would count as `append`. */
function assertOneOf(option: string, value: string, values: readonly string[]): void {
  if (!values.includes(value)) {
    throw new InvalidOptionsError(`${option}: '${value}'. Give one of ${values.join(', ')}.`);
  }
}

async function makeWay(
  session: Session,
  current: CurrentTransaction,
  ends: CommitRefusals,
): Promise<void> {
  if (!session.hasWork) {
    return;
  }
  if (current === 'commit') {
    // That of an end of its own: whoever swallows its failure must not succeed without what came before the block.
    await session.commit();
  } else if (current === 'rollback') {
    await session.rollbackBlock();
    ends.forgetRollbackOnly(session.connectionName);
  } else if (current === 'append') {
    // What was lost before is none of the block, whose caller may swallow that it is undone.
    session.assertNothingLost();
  } else if (current === 'raise') {
    throw new InvalidTransactionStateError(
      session.place,
      "atomic({ current: 'raise' }) was called, and a transaction is open. Commit or roll it back " +
        "first, or choose another mode: 'commit', 'rollback', 'append' or 'savepoint'.",
    );
  }
}
