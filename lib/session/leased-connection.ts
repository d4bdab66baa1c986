import type { Connection, TransactionEventType } from '@mikro-orm/core';

import type { BeginSettings } from './begin-sql.js';
import { LazyTransaction, type TransactionParts } from './lazy-transaction.js';
import type { ScopeContext } from './transaction-context.js';

/** The options that MikroORM passes to `connection.transactional()` and `.begin()`. */
interface TransactionalOptions extends BeginSettings {
  /** Given for a savepoint. */
  readonly ctx?: unknown;
  readonly eventBroadcaster?: {
    dispatchEvent(event: TransactionEventType, transaction?: unknown): Promise<void>;
  };
  readonly sessionContext?: unknown;
}

/**
 * MikroORM's connection, with transactions of this library in place of its own. MikroORM begins one
 * by itself for `REQUIRES_NEW`, and for forks of a session; on a lease those lose no pool slot and
 * tell no lies either.
 *
 * In all else it stays MikroORM's object; a proxy, because its class keeps private state that a
 * derived object could not reach.
 */
export function leasedConnection(target: Connection, parts: TransactionParts): Connection {
  return new Proxy(target, {
    get: (_, property) => {
      if (property === 'transactional') {
        return (callback: TransactionCallback, options: TransactionalOptions = {}) =>
          options.ctx === undefined
            ? runTransaction(parts, callback, options)
            : target.transactional(callback, options as never);
      }
      if (property === 'begin') {
        return (options: TransactionalOptions = {}) =>
          options.ctx === undefined
            ? beginTransaction(parts, options)
            : target.begin(options as never);
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

type TransactionCallback = (context: ScopeContext) => Promise<unknown>;

async function runTransaction(
  parts: TransactionParts,
  callback: TransactionCallback,
  options: TransactionalOptions,
): Promise<unknown> {
  const transaction = open(parts, options);
  try {
    const result = await callback(transaction.context);
    await transaction.announceCommit();
    await transaction.commit();
    return result;
  } catch (error) {
    await transaction.rollback();
    throw error;
  }
}

async function beginTransaction(
  parts: TransactionParts,
  options: TransactionalOptions,
): Promise<ScopeContext> {
  const transaction = open(parts, options);
  await transaction.begin(options);
  return transaction.context;
}

function open(parts: TransactionParts, options: TransactionalOptions): LazyTransaction {
  const owner = {
    broadcast: async (event: TransactionEventType, context: ScopeContext) => {
      await options.eventBroadcaster?.dispatchEvent(event, context);
    },
    sessionContext: () => options.sessionContext,
    isSession: false,
  };
  return new LazyTransaction(parts, owner, options);
}
