import type { EntityManager, TransactionOptions } from '@mikro-orm/core';
import { TransactionPropagation, TransactionStateError } from '@mikro-orm/core';

import { placeOf } from '../connection/claim.js';
import {
  InvalidTransactionStateError,
  UnexpectedRollbackError,
  type ErrorPlace,
} from '../errors.js';
import { Autocommit } from './autocommit.js';
import { mergeSettings } from '../postgresql/transaction-settings.js';
import { hasChanges } from './changes.js';
import { computesSettings } from './computed-settings.js';
import { isFlushing, isFlushUnderWay } from './flush-turns.js';
import type { KyselyClient } from './kysely-shapes.js';
import { asKyselyTransaction, isAutocommit, kyselyAutocommit } from './kysely-transaction.js';
import { settingsOf } from './mikro-orm-settings.js';
import type { TransactionParts } from './orm-transaction.js';
import {
  CONTROL,
  FLUSH_FAILURE,
  ROOT,
  type SessionControl,
  type SessionManager,
} from './session-marks.js';

/** What leaves the transaction that the code is in. */
const OWN_TRANSACTIONS: ReadonlySet<TransactionOptions['propagation']> = new Set([
  TransactionPropagation.REQUIRES_NEW,
  TransactionPropagation.NOT_SUPPORTED,
]);

/** The propagation that comes to the same, where MikroORM takes `not_supported` for a transaction. */
export function outsideOf(
  manager: EntityManager,
  { propagation }: TransactionOptions,
): Pick<TransactionOptions, 'propagation'> {
  if (!isAutocommit(manager.getTransactionContext())) {
    return {};
  }
  switch (propagation) {
    case TransactionPropagation.REQUIRED:
      return { propagation: TransactionPropagation.NESTED };
    case TransactionPropagation.SUPPORTS:
    case TransactionPropagation.NEVER:
      return { propagation: TransactionPropagation.NOT_SUPPORTED };
    case TransactionPropagation.MANDATORY:
      throw TransactionStateError.requiredTransactionNotFound(propagation);
    default:
      return {};
  }
}

/**
 * Makes the statements of a fork in no transaction part of the unit of work of a session (W3).
 *
 * @throws {@link InvalidTransactionStateError} they would lack what guards the rows
 */
export function ownStatements(
  { connection }: TransactionParts,
  fork: SessionManager,
  control: SessionControl | undefined,
): Autocommit | undefined {
  // With a context of row-level security MikroORM wraps each statement in a transaction.
  if (control === undefined || fork.getTransactionSessionContext() !== undefined) {
    return undefined;
  }
  assertUnguarded({ connection }, control);
  const autocommit = new Autocommit(connection, control.holder);
  control.own(autocommit);
  fork.setTransactionContext(kyselyAutocommit(connection.getKysely() as KyselyClient, autocommit));
  return autocommit;
}

/**
 * A role and variables are set for a transaction, and so not for statements in none: policies of row-level
 * security would see those of the log-in, and perhaps rows of everybody.
 */
function assertUnguarded(
  { connection }: Pick<TransactionParts, 'connection'>,
  { settings, holder }: SessionControl,
): void {
  const { role, sessionVariables } = mergeSettings(
    connection.transactionOptions.transaction,
    settings,
  );
  if (computesSettings(connection) || role !== undefined || sessionVariables !== undefined) {
    throw new InvalidTransactionStateError(
      placeOf(connection.name, holder),
      'propagation "not_supported" was asked for, and the connection or the route has a role or session ' +
        'variables, which statements outside of a transaction do not have: they could see the rows of ' +
        'everybody. Use propagation "requires_new" or dbContext.runInNewContext(), which have them; for ' +
        'statements without them on purpose there is session.fork().',
    );
  }
}

/** @param endByMikroOrm MikroORM's own way, for what is not the transaction of a session */
export async function endTransaction(
  manager: SessionManager,
  place: ErrorPlace,
  verb: 'commit' | 'rollback',
  endByMikroOrm: () => Promise<void>,
): Promise<void> {
  const control = manager[CONTROL];
  assertNotNested(manager, place, verb);
  const context = asKyselyTransaction(manager.getTransactionContext());
  if (control === undefined) {
    await endByMikroOrm();
  } else if (context?.parent === undefined) {
    await control[verb]();
  } else {
    // A savepoint of begin({ ctx }): MikroORM ends it, and leaves no context behind.
    await endByMikroOrm();
    manager.setTransactionContext(context.parent);
  }
}

/** @returns what to wait for before it begins, if anything is written first */
export function prepareNesting(
  manager: EntityManager,
  control: SessionControl | undefined,
  { isolationLevel, readOnly, propagation }: TransactionOptions,
): Promise<void> | undefined {
  const isNested = propagation === undefined || propagation === TransactionPropagation.NESTED;
  // Isolation level and access mode can only be had from a BEGIN, and a savepoint is none.
  const isJoined = isNested || propagation === TransactionPropagation.REQUIRED;
  if (control !== undefined && isJoined && (isolationLevel !== undefined || readOnly === true)) {
    control.demand(settingsOf({ isolationLevel, readOnly }));
  }
  // MikroORM's fork takes over what is pending: it would be written inside of the savepoint and be lost with
  // it, or in a transaction of its own and be kept without the session.
  const isWrittenElsewhere = isNested || OWN_TRANSACTIONS.has(propagation);
  const context = manager.getTransactionContext();
  const isOfSession = asKyselyTransaction(context) !== undefined || isAutocommit(context);
  // Inside of a flush hook there is nothing to do: the changes are being written already.
  if (isWrittenElsewhere && isOfSession && !isFlushing(manager)) {
    // What another branch is flushing is only known when that flush has ended.
    if (isFlushUnderWay(manager) || hasChanges(manager)) {
      return manager.flush();
    }
  }
  return undefined;
}

/** @throws {@link UnexpectedRollbackError} a statement or a flush has failed, and its error was swallowed */
export function assertNotFailed(manager: EntityManager): void {
  const part = asKyselyTransaction(manager.getTransactionContext())?.part;
  const blocker = part?.isShut === false ? part.whole.commitBlocker : undefined;
  if (blocker !== undefined) {
    throw blocker;
  }
  const flushFailure = (manager as SessionManager)[FLUSH_FAILURE];
  if (part !== undefined && flushFailure !== undefined) {
    throw new UnexpectedRollbackError(part.place, 'failed-flush', flushFailure.error);
  }
}

/** MikroORM itself ends the transaction of a callback; a second end would be one too many. */
export function assertNotNested(manager: SessionManager, place: ErrorPlace, verb: string): void {
  if (manager.getContext(false) !== manager || manager[ROOT] !== undefined) {
    throw new InvalidTransactionStateError(
      place,
      `${verb}() was called inside em.transactional(). Return from its callback to keep the work, ` +
        'or throw to undo it.',
    );
  }
}
