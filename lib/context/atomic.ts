import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager } from '@mikro-orm/core';

import { InvalidTransactionStateError } from '../errors.js';
import type { BeginSettings } from '../session/begin-sql.js';
import type { Session } from '../session/session.js';

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

/** The blocks that the current code runs in, innermost first. */
interface Block {
  readonly session: Session;
  readonly outer: Block | undefined;
}

const blocks = new AsyncLocalStorage<Block>();
const lastBlocks = new WeakMap<Session, Promise<unknown>>();

/**
 * Runs `callback` as a transaction of its own on a session, committed when it succeeds and rolled
 * back when it throws. Blocks of parallel branches run one after another: they share the session.
 *
 * @throws what `callback` throws, or why the commit failed
 * @throws {@link InvalidTransactionStateError} with `raise`, a transaction is open
 */
export async function runAtomic<T>(
  session: Session,
  current: CurrentTransaction,
  settings: BeginSettings,
  callback: (manager: EntityManager) => T | Promise<T>,
): Promise<T> {
  if (current === 'savepoint') {
    // Savepoints of one session take turns by themselves.
    return session.manager.transactional(async (manager) => callback(manager), settings);
  }
  session.assertNotNested('atomic');
  return inTurn(session, async () => {
    await makeWay(session, current);
    if (settings.isolationLevel !== undefined || settings.readOnly !== undefined) {
      await session.demand(settings);
    }
    let result: T;
    try {
      result = await callback(session.manager);
    } catch (error) {
      await session.rollback();
      throw error;
    }
    await session.commit();
    return result;
  });
}

async function makeWay(session: Session, current: CurrentTransaction): Promise<void> {
  if (!session.hasBegun && !session.hasPendingChanges) {
    return;
  }
  if (current === 'commit') {
    await session.commit();
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

async function inTurn<T>(session: Session, block: () => Promise<T>): Promise<T> {
  const outer = blocks.getStore();
  const run = (): Promise<T> => blocks.run({ session, outer }, block);
  for (let each = outer; each !== undefined; each = each.outer) {
    if (each.session === session) {
      // A block inside of a block would wait for itself.
      return run();
    }
  }
  const result = (lastBlocks.get(session) ?? Promise.resolve()).then(run);
  lastBlocks.set(
    session,
    result.catch(() => undefined),
  );
  return result;
}
