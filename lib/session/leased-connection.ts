import type { Connection, TransactionEventType } from '@mikro-orm/core';

import type { Holder } from '../connection/pool-claims.js';
import { mergeSettings, type TransactionSettings } from '../transaction-settings.js';
import type { ContextPart } from './context-part.js';
import type { LeaseWatch } from './lease-watch.js';
import { LazyTransaction, type TransactionParts } from './lazy-transaction.js';
import { settingsOf, type MikroOrmSettings } from './mikro-orm-settings.js';
import { isAutocommit, type ScopeContext } from './transaction-context.js';

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
 * @param own makes a transaction a part of the context, until the function that it returns is called
 * @param isWithin whether the calling code is part of what the transaction is for; MikroORM sends the
 *   statements of parallel branches in the transaction of a flush as well, and they run outside of it
 */
export function leasedConnection(
  target: Connection,
  parts: TransactionParts,
  origin: LeaseOrigin | undefined,
  own: OwnPart,
  isWithin?: () => boolean,
): Connection {
  const open = (options: TransactionalOptions): LazyTransaction =>
    openTransaction(parts, origin, options, isWithin);
  return new Proxy(target, {
    get: (_, property) => {
      if (property === 'transactional') {
        return (callback: TransactionCallback, options: TransactionalOptions = {}) =>
          options.ctx === undefined || isAutocommit(options.ctx)
            ? runOwned(open(options), callback, own)
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

/** Makes a transaction a part of a context, if it is to be one, until what it returns is called. */
type OwnPart = (part: ContextPart) => (() => void) | undefined;

type TransactionCallback = (context: ScopeContext) => Promise<unknown>;

async function runOwned(
  transaction: LazyTransaction,
  callback: TransactionCallback,
  own: OwnPart,
): Promise<unknown> {
  const disown = own(transaction);
  try {
    return await runTransaction(transaction, callback);
  } finally {
    disown?.();
  }
}

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
  isWithin: (() => boolean) | undefined,
): LazyTransaction {
  const owner = {
    isWithin,
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
