import type { EntityManager, TransactionEventType } from '@mikro-orm/core';

import { placeOf, type Holder } from '../connection/claim.js';
import { InvalidTransactionStateError, UnexpectedRollbackError } from '../errors.js';
import type { DbContextError, ErrorPlace } from '../errors.js';
import type { Outcome } from '../outcome.js';
import {
  hasSettings,
  mergeSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';
import type { TransactionPart } from '../transaction/savepoint.js';
import type { Failure } from '../transaction/transaction-state.js';
import type { Transaction } from '../transaction/transaction.js';
import { hasChanges, hasPendingEntities, wouldWrite } from './changes.js';
import { isFlushUnderWay } from './flush-turns.js';
import { asKyselyTransaction, isAutocommit, type KyselyTransaction } from './kysely-transaction.js';
import { NestedTransaction } from './nested-transaction.js';
import { OrmTransaction, type OrmOwner, type TransactionParts } from './orm-transaction.js';

/** The transactions of one entity manager, one after another: each is replaced when it has ended. */
export abstract class SessionTransactions implements OrmOwner {
  readonly manager: EntityManager;
  readonly holder: Holder | undefined;
  /** Only the session itself may end its transactions. */
  readonly isSession = true;
  readonly #parts: TransactionParts;
  #settings: TransactionSettings;
  #current: OrmTransaction;
  /** The first flush that failed since the transaction began. */
  #flushFailure: Failure | undefined;

  constructor(
    parts: TransactionParts,
    manager: EntityManager,
    settings: TransactionSettings,
    { holder }: Pick<OrmOwner, 'holder'>,
  ) {
    this.manager = manager;
    this.holder = holder;
    this.#parts = parts;
    this.#settings = settings;
    this.#current = new OrmTransaction(parts, this, settings);
  }

  get connectionName(): string {
    return this.#parts.connection.name;
  }

  /** Where its errors happen. */
  get place(): ErrorPlace {
    return placeOf(this.connectionName, this.holder);
  }

  get context(): KyselyTransaction {
    return this.#current.context;
  }

  get settings(): TransactionSettings {
    return this.#settings;
  }

  /** Its current transaction; another one after each end. */
  get transaction(): Transaction {
    return this.#current.transaction;
  }

  /** The transaction, or the savepoint of it, that the calling code runs in. */
  get currentPart(): TransactionPart {
    const fork = NestedTransaction.forkOf(this.manager);
    // The transaction of `requires_new` is no part of this session's.
    return asKyselyTransaction(fork?.getTransactionContext())?.part ?? this.transaction.innermost;
  }

  /** Whether a transaction has begun and not ended yet. */
  get hasBegun(): boolean {
    return this.transaction.hasBegun;
  }

  /** Whether a commit has anything to do: also to refuse what a flush has lost. */
  get hasWork(): boolean {
    return (
      this.hasBegun ||
      this.#flushFailure !== undefined ||
      this.hasPendingChanges ||
      (!isFlushUnderWay(this.manager) && hasChanges(this.manager))
    );
  }

  /** Whether entities wait to be inserted or removed. */
  get hasPendingChanges(): boolean {
    return hasPendingEntities(this.manager.getUnitOfWork(false));
  }

  /** Whether entities have been changed since they were written, and no flush is about to write them. */
  get isChanged(): boolean {
    return !isFlushUnderWay(this.manager) && wouldWrite(this.manager);
  }

  /** Whether code of the application runs in its flushes. */
  protected get flushCallsCode(): boolean {
    return this.#parts.flushCode.runsIn(this.manager);
  }

  /** Begins now rather than with the first statement. */
  begin(settings: TransactionSettings = {}): Promise<void> {
    return this.transaction.begin(settings);
  }

  /** See {@link Transaction.demand}. */
  demand(settings: TransactionSettings): void {
    const fork = NestedTransaction.forkOf(this.manager);
    const whole = asKyselyTransaction(fork?.getTransactionContext())?.part.whole;
    if (whole !== undefined && whole !== this.transaction && hasSettings(settings)) {
      throw new InvalidTransactionStateError(
        this.place,
        'settings were asked for inside of a transaction with propagation "requires_new". Give that ' +
          'one its settings: em.transactional(callback, { isolationLevel, readOnly }).',
      );
    }
    this.transaction.demand(settings);
  }

  /** Makes this and all later transactions begin with these settings; otherwise as `demand()`. */
  configure(settings: TransactionSettings): void {
    this.transaction.demand(settings);
    this.#settings = mergeSettings(this.#settings, settings);
  }

  /**
   * Lends the client of the part that the calling code runs in, see {@link TransactionPart.lend}.
   *
   * @throws {@link InvalidTransactionStateError} the calling code runs in no transaction
   */
  async lend<T>(callback: (client: object) => T | Promise<T>): Promise<T> {
    const fork = NestedTransaction.forkOf(this.manager);
    if (isAutocommit(fork?.getTransactionContext())) {
      throw new InvalidTransactionStateError(
        this.place,
        'withClient() was called inside of "not_supported", where there is no transaction to lend the ' +
          'client of. Call it outside of that callback, or inside of one with "requires_new".',
      );
    }
    return this.currentPart.lend(callback);
  }

  /** Takes note of what a flush has lost: nobody can find it in the unit of work any more (F4). */
  flushFailed(error: unknown): void {
    this.#flushFailure ??= { error };
  }

  /** See {@link Transaction.whileOpen}. */
  whileOpen<T>(work: Promise<T>): Promise<T> {
    return this.transaction.whileOpen(work);
  }

  /** Why the work cannot be committed although no statement has failed. */
  protected get flushBlocker(): DbContextError | undefined {
    const failure = this.#flushFailure;
    return failure && new UnexpectedRollbackError(this.place, 'failed-flush', failure.error);
  }

  /** @throws why what has been done so far is lost, whatever becomes of it */
  assertNothingLost(): void {
    const blocker = this.transaction.commitBlocker ?? this.flushBlocker;
    if (blocker !== undefined) {
      throw blocker;
    }
  }

  /** @throws why the work cannot be committed any more */
  protected assertNotFailed(): void {
    if (this.transaction.isOpen) {
      this.assertNothingLost();
    }
  }

  /** See {@link OrmTransaction.announceCommit}. */
  protected announceCommit(): Promise<void> | undefined {
    return this.#current.announceCommit();
  }

  /** See {@link OrmTransaction.commit}. */
  protected commitTransaction(): Promise<Outcome> {
    return this.#current.commit();
  }

  /** Makes the next statement begin a new transaction. */
  protected renewTransaction(): void {
    this.#flushFailure = undefined;
    this.#current = new OrmTransaction(this.#parts, this, this.#settings);
    this.manager.setTransactionContext(this.context);
  }

  /** See {@link OrmOwner.hasListeners}. */
  hasListeners(event: TransactionEventType): boolean {
    for (const subscriber of this.manager.getEventManager().getSubscribers()) {
      if (subscriber[event] !== undefined) {
        return true;
      }
    }
    return false;
  }

  /** See {@link OrmOwner.sessionContext}: staged before the fork became the session. */
  sessionContext(): unknown {
    return this.manager.getTransactionSessionContext();
  }

  /** See {@link OrmOwner.broadcast}. */
  async broadcast(event: TransactionEventType, transaction?: KyselyTransaction): Promise<void> {
    const em = this.manager;
    const uow = em.getUnitOfWork(false);
    await em.getEventManager().dispatchEvent(event, { em, uow, transaction });
  }
}
