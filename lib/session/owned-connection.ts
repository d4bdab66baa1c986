import type { Connection, TransactionEventType } from '@mikro-orm/core';

import { mergeSettings, type TransactionSettings } from '../postgresql/transaction-settings.js';
import { isAutocommit, type KyselyTransaction } from './kysely-transaction.js';
import { settingsOf, type MikroOrmSettings } from './mikro-orm-settings.js';
import type { WorkOwner } from './owned-work.js';
import { OrmTransaction, type OrmOwner, type TransactionParts } from './orm-transaction.js';

/** The options that MikroORM passes to `connection.transactional()` and `.begin()`. */
interface TransactionalOptions extends MikroOrmSettings {
  /** Given for a savepoint. */
  readonly ctx?: unknown;
  readonly eventBroadcaster?: {
    dispatchEvent(event: TransactionEventType, transaction?: unknown): Promise<void>;
  };
  readonly sessionContext?: unknown;
}

/** The session that a transaction is begun beside. */
export interface TransactionOrigin extends Pick<OrmOwner, 'holder'> {
  readonly settings: TransactionSettings;
}

/** What a transaction takes over from the manager that it is begun by. */
interface Beside {
  /** The session that the manager is a fork of; the options of a call win over its settings. */
  readonly origin: TransactionOrigin | undefined;
  readonly owner: WorkOwner | undefined;
  /**
   * Whether the calling code is part of what the transaction is for; MikroORM sends the statements of
   * parallel branches in the transaction of a flush as well, and they run outside of it.
   */
  readonly isWithin: (() => boolean) | undefined;
}

/**
 * MikroORM's connection, with transactions of this library in place of its own. MikroORM begins one
 * by itself for `REQUIRES_NEW`, and for forks of a session; as transactions of this library they lose
 * no pool slot, and it sees no state of another statement.
 *
 * In all else it stays MikroORM's object; a proxy, because its class keeps private state that a
 * derived object could not reach.
 *
 * @param beside what the transactions take over from the manager that they are begun by
 */
export function ownedConnection(
  target: Connection,
  parts: TransactionParts,
  beside: Beside,
): Connection {
  const open = (options: TransactionalOptions): OrmTransaction =>
    openTransaction(parts, beside, options);
  return new Proxy(target, {
    get: (_, property) => {
      if (property === 'transactional') {
        return (callback: TransactionCallback, options: TransactionalOptions = {}) =>
          isOwn(options)
            ? runTransaction(open(options), callback)
            : target.transactional(callback, options as never);
      }
      if (property === 'begin') {
        return (options: TransactionalOptions = {}) =>
          isOwn(options) ? beginTransaction(open(options)) : target.begin(options as never);
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Whether a transaction of its own is asked for, rather than a savepoint. */
function isOwn({ ctx }: TransactionalOptions): boolean {
  return ctx === undefined || isAutocommit(ctx);
}

type TransactionCallback = (context: KyselyTransaction) => Promise<unknown>;

async function runTransaction(
  transaction: OrmTransaction,
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

async function beginTransaction({
  transaction,
  context,
}: OrmTransaction): Promise<KyselyTransaction> {
  await transaction.begin({});
  return context;
}

function openTransaction(
  parts: TransactionParts,
  { origin, owner: workOwner, isWithin }: Beside,
  options: TransactionalOptions,
): OrmTransaction {
  const { eventBroadcaster, sessionContext } = options;
  const owner: OrmOwner = {
    holder: origin?.holder,
    hasListeners: () => eventBroadcaster !== undefined,
    broadcast: async (event, context) => {
      await eventBroadcaster?.dispatchEvent(event, context);
    },
    sessionContext: () => sessionContext,
    isSession: false,
    isWithin,
  };
  const settings = mergeSettings(origin?.settings, settingsOf(options));
  const transaction = new OrmTransaction(parts, owner, settings);
  workOwner?.own({
    isOver: () => transaction.transaction.outcome !== undefined,
    end: () => transaction.rollback(),
  });
  return transaction;
}
