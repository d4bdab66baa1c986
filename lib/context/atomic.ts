import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager } from '@mikro-orm/core';

import { InvalidTransactionStateError } from '../errors.js';
import type { Session } from '../session/session.js';
import { checkTransactionSettings, type TransactionSettings } from '../transaction-settings.js';
import type { DbContainer } from './container.js';
import { checkRetryOptions, withRetry, type RetryOptions } from './retry.js';

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

/** How an atomic block runs. */
export interface AtomicSettings extends TransactionSettings {
  /**
   * What becomes of a transaction that is open already.
   * @defaultValue 'commit'
   */
  readonly current?: CurrentTransaction;
  /** Runs the block again on a serialization failure or a deadlock; never by default. */
  readonly retry?: RetryOptions;
}

/** The session that a block works on: whatever the context has for a connection at the time. */
export interface AtomicTarget {
  readonly container: DbContainer;
  readonly connectionName: string;
}

/** The blocks that the current code runs in, innermost first. */
interface Block {
  readonly container: DbContainer;
  readonly outer: Block | undefined;
}

const blocks = new AsyncLocalStorage<Block>();
/** The last one in a context, or in a block. */
const lastBlocks = new WeakMap<DbContainer | Block, Promise<unknown>>();

/**
 * Runs `callback` as a transaction of its own on a session, committed when it succeeds and rolled
 * back when it throws. Blocks of parallel branches run one after another: they share the session.
 *
 * @param settings how it runs, and of the transaction that it begins; that stays lazy
 * @throws what `callback` throws, or why the commit failed
 * @throws {@link InvalidTransactionStateError} with `raise`, a transaction is open
 */
export async function runAtomic<T>(
  target: AtomicTarget,
  { current = 'commit', retry, ...settings }: AtomicSettings,
  callback: (manager: EntityManager) => T | Promise<T>,
): Promise<T> {
  checkTransactionSettings(settings, 'atomic()');
  if (retry !== undefined) {
    checkRetryOptions(retry, 'retry');
  }
  const { container, connectionName } = target;
  const session = container.session(connectionName);
  if (current === 'savepoint') {
    assertNoRetry(connectionName, retry);
    // Only a BEGIN can take them, and a savepoint is none: the transaction around it has to.
    session.demand(settings);
    // Savepoints of one session take turns by themselves.
    return session.manager.transactional(async (manager) => callback(manager));
  }
  session.assertNotNested('atomic');
  // What an outer part did in an appended transaction would be missing from the next attempt.
  const isShared = current === 'append' && session.hasWork;
  return inTurn(target, () =>
    withRetry(isShared ? undefined : retry, () => {
      let commitsBefore = container.earlyCommits;
      const run = async (): Promise<T> => {
        // After a commit that failed it is another one than before.
        const own = container.session(connectionName);
        // Neither making way nor undoing the block is the rollback() that a failed commit asks for.
        const restore = container.failedCommits.remember(connectionName);
        await makeWay(own, current);
        restore();
        commitsBefore = container.earlyCommits;
        own.demand(settings);
        return commitAfter(target, () => callback(own.manager), restore);
      };
      return { run, isUndone: () => container.earlyCommits === commitsBefore };
    }),
  );
}

/**
 * Ends whatever session the context has by then: `work` may have closed the one it began with.
 *
 * @param onUndone called when the work has been rolled back, before its error is thrown
 */
async function commitAfter<T>(
  { container, connectionName }: AtomicTarget,
  work: () => T | Promise<T>,
  onUndone: () => void,
): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await container.existing(connectionName)?.rollback();
    onUndone();
    throw error;
  }
  await container.existing(connectionName)?.commit(true);
  return result;
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

async function makeWay(session: Session, current: CurrentTransaction): Promise<void> {
  if (!session.hasWork) {
    return;
  }
  if (current === 'commit') {
    await session.commit(true);
  } else if (current === 'rollback') {
    await session.rollback();
  } else if (current === 'raise') {
    throw new InvalidTransactionStateError(
      session.connectionName,
      "atomic({ current: 'raise' }) was called, and a transaction is open. Commit or roll it back " +
        "first, or choose another mode: 'commit', 'rollback', 'append' or 'savepoint'.",
    );
  }
}

/**
 * Blocks take turns with those that began in the same block, or in none; of whatever connection, or
 * two of them could wait for each other for ever.
 */
async function inTurn<T>({ container }: AtomicTarget, block: () => Promise<T>): Promise<T> {
  let outer = blocks.getStore();
  // Those that are over would be kept for ever by a job that restarts itself.
  while (outer?.container.isClosed === true) {
    ({ outer } = outer);
  }
  const own: Block = { container, outer };
  let around = outer;
  while (around !== undefined && around.container !== container) {
    around = around.outer;
  }
  const key = around ?? container;
  const result = (lastBlocks.get(key) ?? Promise.resolve()).then(() => blocks.run(own, block));
  lastBlocks.set(
    key,
    result.catch(() => undefined),
  );
  return result;
}
