import type { Connection, TransactionEventType } from '@mikro-orm/core';

import type { Holder } from '../connection/claim.js';
import { mergeSettings, type TransactionSettings } from '../postgresql/transaction-settings.js';
import { LazyTransaction, type TransactionParts } from './lazy-transaction.js';
import type { LeaseWatch } from './lease-watch.js';
import { settingsOf, type MikroOrmSettings } from './mikro-orm-settings.js';
import type { ScopeContext } from './transaction-context.js';

/** The options that MikroORM passes to `connection.transactional()` and `.begin()`. */
interface TransactionalOptions extends MikroOrmSettings {
  /** Given for a savepoint. */
  readonly ctx?: unknown;
  readonly eventBroadcaster?: {
    dispatchEvent(event: TransactionEventType, transaction?: unknown): Promise<void>;
  };
  readonly sessionContext?: unknown;
}

/** What a transaction takes over from the session that it is begun beside. */
interface LeaseOrigin {
  readonly settings: TransactionSettings;
  readonly holder: Holder | undefined;
  readonly watch: LeaseWatch | undefined;
}

/**
 * MikroORM's connection, with transactions of this library in place of its own. MikroORM begins one
 * by itself for `REQUIRES_NEW`, and for forks of a session; on a lease those lose no pool slot and
 * tell no lies either.
 *
 * In all else it stays MikroORM's object; a proxy, because its class keeps private state that a
 * derived object could not reach.
 *
 * @param origin the session that the caller is a fork of; the options of a call win over its settings
 */
export function leasedConnection(
  target: Connection,
  parts: TransactionParts,
  origin: LeaseOrigin | undefined,
): Connection {
  const open = (options: TransactionalOptions): LazyTransaction =>
    openTransaction(parts, origin, options);
  return new Proxy(target, {
    get: (_, property) => {
      if (property === 'transactional') {
        return (callback: TransactionCallback, options: TransactionalOptions = {}) =>
          options.ctx === undefined
            ? runTransaction(open(options), callback)
            : target.transactional(callback, options as never);
      }
      if (property === 'begin') {
        return (options: TransactionalOptions = {}) =>
          options.ctx === undefined
            ? beginTransaction(open(options))
            : target.begin(options as never);
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

type TransactionCallback = (context: ScopeContext) => Promise<unknown>;

async function runTransaction(
  transaction: LazyTransaction,
  callback: TransactionCallback,
): Promise<unknown> {
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

async function beginTransaction(transaction: LazyTransaction): Promise<ScopeContext> {
  await transaction.begin({});
  return transaction.context;
}

function openTransaction(
  parts: TransactionParts,
  origin: LeaseOrigin | undefined,
  options: TransactionalOptions,
): LazyTransaction {
  const owner = {
    holder: origin?.holder,
    watch: origin?.watch,
    hasListeners: () => options.eventBroadcaster !== undefined,
    broadcast: async (event: TransactionEventType, context?: ScopeContext) => {
      await options.eventBroadcaster?.dispatchEvent(event, context);
    },
    sessionContext: () => options.sessionContext,
    isSession: false,
  };
  return new LazyTransaction(parts, owner, mergeSettings(origin?.settings, settingsOf(options)));
}
