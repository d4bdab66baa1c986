import type { EntityManager, TransactionEventType } from '@mikro-orm/core';

import type { Holder } from '../connection/claim.js';
import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import type { Outcome } from '../outcome.js';
import {
  hasSettings,
  mergeSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';
import { AsyncScope } from '../transaction/async-scope.js';
import type { TransactionPart } from '../transaction/savepoint.js';
import { SerialQueue } from '../transaction/serial-queue.js';
import type { Failure } from '../transaction/transaction-state.js';
import type { Transaction } from '../transaction/transaction.js';
import { hasChanges, hasPendingEntities } from './changes.js';
import { isFlushUnderWay } from './flush-turns.js';
import { asKyselyTransaction, type KyselyTransaction } from './kysely-transaction.js';
import { NestedTransaction } from './nested-transaction.js';
import { OrmTransaction, type OrmOwner, type TransactionParts } from './orm-transaction.js';
import type { OwnedWork } from './owned-connection.js';
import { bindControl, type SessionControl } from './session-manager.js';
import type { SessionWatch } from './session-watch.js';

/** Who is told of the ends of a session. */
export interface SessionObserver {
  /**
   * Asked before anything of a commit is done.
   *
   * @throws {@link UnexpectedRollbackError} it must not succeed
   */
  assertMayCommit(session: Session): void;
  /** As `assertMayCommit()`, for a block that a commit which failed before is no concern of. */
  assertNotRollbackOnly(session: Session): void;
  /** Called before the flush of a commit, when there is something to commit. */
  beforeCommit(session: Session): Promise<void> | undefined;
  committed(session: Session): Promise<void>;
  rolledBack(session: Session): Promise<void>;
  /** Somebody has asked for a rollback, which also undoes what a commit that failed has left behind. */
  undone(session: Session): void;
  /** A commit of its own has failed, and what was to be committed is gone. */
  commitFailed(session: Session, error: unknown): void;
}

/** How a session is made. */
export interface SessionOptions {
  /** Win over those of the connection. */
  readonly settings?: TransactionSettings | undefined;
  /** The unit of work that it is part of. */
  readonly holder?: Holder | undefined;
  readonly watch?: SessionWatch | undefined;
  /** Takes over work beside its transaction; throws where the unit of work has ended. */
  readonly own?: (work: OwnedWork) => void;
}

/** Code of the end of a session: one that waited for the end that it is part of would wait for ever. */
class EndScope extends AsyncScope {
  readonly session: Session;

  constructor(session: Session) {
    super();
    this.session = session;
  }
}

const ignore = (): void => undefined;

/**
 * One entity manager with its transaction, which is replaced by a new one each time it ends. It
 * commits in steps, so that a context with several sessions can take each step on all of them before
 * the next (M1): `flush()`, `prepare()`, `complete()`.
 */
export class Session implements SessionControl, OrmOwner {
  readonly manager: EntityManager;
  readonly holder: Holder | undefined;
  readonly watch: SessionWatch | undefined;
  readonly #parts: TransactionParts;
  #current: OrmTransaction;
  #observer: SessionObserver | undefined;
  #settings: TransactionSettings;
  /**
   * `prepared`: its gate is shut and its COMMIT is to come, so that nobody else may end it. `failed`: a
   * commit has failed, and its unit of work no longer knows what is in the database.
   */
  #state: 'usable' | 'prepared' | 'failed' | 'closed' = 'usable';
  /** The ends of its transactions, one after another: a later one finds a new transaction. */
  readonly #ends = new SerialQueue();
  /** The first flush that failed since the transaction began. */
  #flushFailure: Failure | undefined;
  readonly #own: ((work: OwnedWork) => void) | undefined;

  /**
   * @param manager a fork of the class of session managers
   * @throws {@link InvalidTransactionStateError} `manager` is in a transaction of its own
   */
  constructor(
    parts: TransactionParts,
    manager: EntityManager,
    { settings = {}, holder, watch, own }: SessionOptions,
  ) {
    this.#parts = parts;
    this.#settings = settings;
    this.holder = holder;
    this.watch = watch;
    this.#own = own;
    this.manager = manager;
    this.#current = new OrmTransaction(parts, this, settings);
    bindControl(manager, this);
  }

  get connectionName(): string {
    return this.#parts.connection.name;
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

  /** Whether a commit has anything to do. */
  get hasWork(): boolean {
    return this.hasBegun || (!isFlushUnderWay(this.manager) && hasChanges(this.manager));
  }

  /** Whether entities wait to be inserted or removed. */
  get hasPendingChanges(): boolean {
    return hasPendingEntities(this.manager.getUnitOfWork(false));
  }

  /** Whether it has ended for good; its context then makes a new one. */
  get isClosed(): boolean {
    return this.#state === 'failed' || this.#state === 'closed';
  }

  /** Tells `observer`, and nobody else, of the ends from now on. */
  observe(observer: SessionObserver | undefined): void {
    this.#observer = observer;
  }

  /** Hands work beside its own transaction to the unit of work, which ends it (W3). */
  own(work: OwnedWork): void {
    this.#own?.(work);
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
        this.connectionName,
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

  /** Takes note of what a flush has lost: nobody can find it in the unit of work any more (F4). */
  flushFailed(error: unknown): void {
    this.#flushFailure ??= { error };
  }

  /** See {@link Transaction.whileOpen}. */
  whileOpen<T>(work: Promise<T>): Promise<T> {
    return this.transaction.whileOpen(work);
  }

  /** Writes the changes of the unit of work, after an end that is still under way. */
  async flush(): Promise<void> {
    this.#assertOutsideEnd('commit');
    if (this.#ends.unfinished > 0) {
      await this.#ends.run(ignore);
    }
    await this.#flush();
  }

  /**
   * Shuts the gate, synchronously.
   *
   * @returns why the session cannot be committed, if it cannot
   */
  prepare(): DbContextError | undefined {
    this.#state = 'prepared';
    return this.#ends.unfinished > 0
      ? new UnexpectedRollbackError(this.connectionName, 'unawaited-statements')
      : (this.transaction.shut() ?? this.#flushBlocker);
  }

  get #flushBlocker(): DbContextError | undefined {
    const failure = this.#flushFailure;
    return (
      failure && new UnexpectedRollbackError(this.connectionName, 'failed-flush', failure.error)
    );
  }

  /** As `prepare()`, at the end of the context: no new transaction comes after this one. */
  prepareForGood(): DbContextError | undefined {
    const blocker = this.prepare();
    this.#state = 'closed';
    return blocker;
  }

  /** Commits what `prepare()` has let through. */
  complete(): Promise<Outcome> {
    return this.#exclusively('commit', () => {
      if (this.#state === 'prepared') {
        this.#state = 'usable';
      }
      return this.#commit();
    });
  }

  /** Flushes and commits. The next statement begins a new transaction. */
  async commit(): Promise<void> {
    this.#assertOutsideEnd('commit');
    this.#observer?.assertMayCommit(this);
    try {
      await this.commitBlock();
    } catch (error) {
      if (this.#state === 'failed') {
        this.#observer?.commitFailed(this, error);
      }
      throw error;
    }
  }

  /** As `commit()`, for a block whose caller learns of a failure, which then concerns nobody else. */
  async commitBlock(): Promise<void> {
    await this.#exclusively('commit', async () => {
      this.#assertUsable();
      this.#observer?.assertNotRollbackOnly(this);
      await this.#flushAndCommit();
      await this.#observer?.committed(this);
    });
  }

  /**
   * Rolls back, forgets all entities, and is ready for a new transaction. After a commit that failed
   * there is nothing left to be done.
   */
  async rollback(): Promise<void> {
    await this.rollbackBlock();
    this.#observer?.undone(this);
  }

  /** As `rollback()`, for a block, whose failure undoes nothing but what the block has done. */
  async rollbackBlock(): Promise<void> {
    await this.rollbackInSilence();
    await this.#observer?.rolledBack(this);
  }

  /** As `rollback()`, for a caller that tells the observer by itself. */
  async rollbackInSilence(): Promise<void> {
    await this.#exclusively('rollback', async () => {
      if (this.#state !== 'failed') {
        this.#assertUsable();
        await this.#rollBack();
      }
    });
  }

  /** Rolls back what is open, for good. May be called again. */
  async close(): Promise<void> {
    const { transaction } = this;
    this.#state = 'closed';
    transaction.shut();
    // A commit() that hangs in its flush would hold this up.
    const hurried = this.#ends.unfinished > 0 ? transaction.rollback() : undefined;
    const closed = this.#exclusively('close', () => this.#rollBack());
    await Promise.all([hurried, closed]);
  }

  /** @throws {@link InvalidTransactionStateError} the calling code is inside em.transactional() */
  assertNotNested(verb: string): void {
    this.#assertOutsideEnd(verb);
    if ((NestedTransaction.forkOf(this.manager) ?? this.manager) !== this.manager) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        `${verb}() was called inside em.transactional(). Return from its callback to keep the ` +
          'work, or throw to undo it.',
      );
    }
  }

  async #flush(): Promise<void> {
    // Not first into a transaction that has failed: its first failure is the one to be told.
    this.#assertNotFailed();
    const hooks = this.hasWork ? this.#observer?.beforeCommit(this) : undefined;
    if (hooks !== undefined) {
      await this.whileOpen(hooks);
      // A hook may have swallowed the failure of a statement, too.
      this.#assertNotFailed();
    }
    await this.manager.flush();
    const announced = this.#current.announceCommit();
    if (announced !== undefined) {
      await this.whileOpen(announced);
    }
  }

  #assertNotFailed(): void {
    const { transaction } = this;
    const blocker = transaction.isOpen
      ? (transaction.commitBlocker ?? this.#flushBlocker)
      : undefined;
    if (blocker !== undefined) {
      throw blocker;
    }
  }

  async #flushAndCommit(): Promise<void> {
    try {
      await this.#flush();
      const blocker = this.transaction.shut() ?? this.#flushBlocker;
      if (blocker !== undefined) {
        throw blocker;
      }
      await this.#commit();
    } catch (error) {
      if (this.#state === 'usable') {
        this.#state = 'failed';
        await this.#rollBack();
      }
      await this.#observer?.rolledBack(this);
      throw error;
    }
  }

  async #commit(): Promise<Outcome> {
    try {
      const outcome = await this.#current.commit();
      this.#renew();
      return outcome;
    } catch (error) {
      if (this.#state === 'usable') {
        this.#state = 'failed';
      }
      this.manager.clear();
      throw error;
    }
  }

  async #rollBack(): Promise<void> {
    await this.transaction.rollback();
    // S7: what was never saved is not found again.
    this.manager.clear();
    this.#renew();
  }

  /** Makes the next statement begin a new transaction. */
  #renew(): void {
    this.#flushFailure = undefined;
    if (this.#state === 'usable') {
      this.#current = new OrmTransaction(this.#parts, this, this.#settings);
      this.manager.setTransactionContext(this.context);
    }
  }

  #exclusively<T>(verb: string, end: () => Promise<T>): Promise<T> {
    this.#assertOutsideEnd(verb);
    return this.#ends.run(() => new EndScope(this).during(end));
  }

  #assertOutsideEnd(verb: string): void {
    const isInside =
      !AsyncScope.isEmpty &&
      AsyncScope.innermost(EndScope, ({ session, isOver }) => session === this && !isOver);
    if (isInside) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        `${verb}() was called by a flush hook or a subscriber of the commit() or rollback() that is ` +
          'under way. Throw there to undo the transaction.',
      );
    }
  }

  /** See {@link OrmOwner.isSession}. */
  get isSession(): true {
    return true;
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

  /** See {@link OrmOwner.sessionContext}. */
  sessionContext(): unknown {
    // Staged before the fork became the session, which is always in a transaction.
    return this.manager.getTransactionSessionContext();
  }

  /** See {@link OrmOwner.broadcast}. */
  async broadcast(event: TransactionEventType, transaction?: KyselyTransaction): Promise<void> {
    const em = this.manager;
    const uow = em.getUnitOfWork(false);
    await em.getEventManager().dispatchEvent(event, { em, uow, transaction });
  }

  #assertUsable(): void {
    if (this.#state !== 'usable') {
      throw new SessionClosedError(this.connectionName);
    }
  }
}
