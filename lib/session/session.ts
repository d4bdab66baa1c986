import type { EntityManager } from '@mikro-orm/core';

import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import type { Outcome } from '../outcome.js';
import { NO_SETTINGS } from '../postgresql/transaction-settings.js';
import { AsyncScope } from '../transaction/async-scope.js';
import { SerialQueue } from '../transaction/serial-queue.js';
import { setAmbientAside } from './ambient.js';
import { assertFlushesEnd } from './flush-limit.js';
import { isFlushing } from './flush-turns.js';
import { assertNotNested } from './nesting.js';
import type { TransactionParts } from './orm-transaction.js';
import type { OwnedWork } from './owned-work.js';
import { pendingCodeRuns } from './pending-code.js';
import { bindControl, type SessionControl } from './session-marks.js';
import type { SessionObserver, SessionOptions, SessionOwner } from './session-observer.js';
import { SessionTransactions } from './session-transactions.js';

/** Code of the end of a session: one that waited for the end that it is part of would wait for ever. */
class EndScope extends AsyncScope {
  readonly session: Session;

  constructor(session: Session) {
    super();
    this.session = session;
  }
}

type FailureListener = (error: unknown) => void;

const ignore = (): void => undefined;

/**
 * One entity manager with its transaction, which is replaced by a new one each time it ends. It
 * commits in steps, so that a context with several sessions can take each step on all of them before
 * the next (M1): `flush()`, `prepare()`, `complete()`.
 */
export class Session extends SessionTransactions implements SessionControl {
  #observer: SessionObserver | undefined;
  /**
   * `prepared`: its gate is shut and its COMMIT is to come, so that nobody else may end it. `failed`: a
   * commit has failed, and its unit of work no longer knows what is in the database.
   */
  #state: 'usable' | 'prepared' | 'failed' | 'closed' = 'usable';
  /** The ends of its transactions, one after another: a later one finds a new transaction. */
  readonly #ends = new SerialQueue();
  readonly #owner: SessionOwner | undefined;

  /**
   * @param manager a fork of the class of session managers
   * @throws {@link InvalidTransactionStateError} `manager` is in a transaction of its own
   */
  constructor(
    parts: TransactionParts,
    manager: EntityManager,
    { settings = NO_SETTINGS, holder, owner }: SessionOptions,
  ) {
    super(parts, manager, settings, { holder });
    this.#owner = owner;
    bindControl(manager, this);
  }

  /** Whether it has ended for good; its context then makes a new one. */
  get isClosed(): boolean {
    return this.#state === 'failed' || this.#state === 'closed';
  }

  /** Reports the ends to `observer` alone from now on. */
  observe(observer: SessionObserver | undefined): void {
    this.#observer = observer;
  }

  /** See {@link SessionControl.nestedEnded}. */
  nestedEnded(): Promise<void> | undefined {
    return this.#observer?.besideEnded(this);
  }

  /** Hands work beside its own transaction to the unit of work, which ends it (W3). */
  own(work: OwnedWork): void {
    this.#owner?.own(this.connectionName, work);
  }

  /** Writes the changes of the unit of work, after an end that is still under way. */
  flush(): Promise<void> {
    this.#assertOutsideEnd('commit');
    const flush = (): Promise<void> => setAmbientAside(this.manager, () => this.#flush());
    return this.#ends.unfinished > 0 ? this.#ends.run(ignore).then(flush) : flush();
  }

  /**
   * Shuts the gate, synchronously.
   *
   * @returns why the session cannot be committed, if it cannot
   */
  prepare(): DbContextError | undefined {
    this.#state = 'prepared';
    return this.#ends.unfinished > 0
      ? new UnexpectedRollbackError(this.place, 'unawaited-statements')
      : this.#shut();
  }

  /** As `prepare()`, at the end of the context: no new transaction comes after this one. */
  prepareForGood(): DbContextError | undefined {
    const blocker = this.prepare();
    this.#state = 'closed';
    return blocker;
  }

  /** Whether code of the application runs as it is flushed for a commit: that may change entities of any session. */
  get callsCode(): boolean {
    return this.flushCallsCode || this.#observer?.callsBefore(this) === true;
  }

  /** Whether something is left to be done before its commit that a flush does: entities to be written, or a hook. */
  get isUnfinished(): boolean {
    return this.hasPendingChanges || this.#observer?.awaitsHook(this) === true;
  }

  /** Commits what `prepare()` has let through. */
  complete(): Promise<Outcome> {
    const end = (): Promise<Outcome> => {
      if (this.#state === 'prepared') {
        this.#state = 'usable';
      }
      return this.#commit();
    };
    if (this.manager.getEventManager().getSubscribers().size > 0) {
      return this.#exclusively('commit', end);
    }
    // All that was to be flushed is flushed, so no code of the application runs in it.
    this.#assertOutsideEnd('commit');
    return this.#ends.run(end);
  }

  /** Flushes and commits. The next statement begins a new transaction. */
  async commit(): Promise<void> {
    this.assertOutsideCode('commit');
    this.#observer?.assertMayEnd(this, 'commit');
    await this.commitBlock((error) => this.#observer?.commitFailed(this, error));
  }

  /**
   * As `commit()`, for a block whose caller learns of a failure, which then concerns nobody else.
   *
   * @param onFailure hears of a failure at once: while this session is rolled back, another one may be committed
   */
  commitBlock(onFailure: FailureListener = ignore): Promise<void> {
    return this.#exclusively('commit', async () => {
      this.#assertUsable();
      const blocker = this.#observer?.blockerOf(this);
      if (blocker !== undefined) {
        throw blocker;
      }
      await this.#flushAndCommit(onFailure);
      await this.#observer?.committed(this);
    });
  }

  /**
   * Rolls back, forgets all entities, and is ready for a new transaction, also after a commit that failed; then
   * not where another session has taken its place.
   */
  async rollback(): Promise<void> {
    this.assertOutsideCode('rollback');
    this.#observer?.assertMayEnd(this, 'rollback');
    await this.rollbackBlock();
    this.#observer?.undone(this);
  }

  /** As `rollback()`, for a block, whose failure undoes nothing but what the block has done. */
  async rollbackBlock(): Promise<void> {
    await this.rollbackInSilence();
    await this.#observer?.rolledBack(this);
  }

  /** As `rollback()`, for a caller that reports to the observer by itself. */
  async rollbackInSilence(): Promise<void> {
    await this.#exclusively('rollback', async () => {
      if (this.#state === 'failed' && this.#owner?.holds(this) === true) {
        this.#state = 'usable';
      }
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

  /** @throws {@link InvalidTransactionStateError} the calling code is inside em.transactional(), or part of a flush */
  assertNotNested(verb: string): void {
    this.assertOutsideCode(verb);
    assertNotNested(this.manager, this.place, verb);
  }

  /** @throws {@link InvalidTransactionStateError} the calling code is part of what the end would have to wait for */
  assertOutsideCode(verb: string): void {
    this.#assertOutsideEnd(verb);
    if (isFlushing(this.manager)) {
      throw this.#calledWithin(verb, 'flush');
    }
  }

  async #flush(): Promise<void> {
    // Not first into a transaction that has failed: its first failure is the one to be thrown.
    this.assertNotFailed();
    const hooks = this.#observer?.beforeCommit(this);
    if (hooks !== undefined) {
      await this.whileOpen(hooks);
      // A hook may have swallowed the failure of a statement, too.
      this.assertNotFailed();
    }
    await this.manager.flush();
    const announced = this.announceCommit();
    if (announced !== undefined) {
      await this.whileOpen(announced);
    }
    await pendingCodeRuns();
  }

  async #flushAndCommit(onFailure: FailureListener): Promise<void> {
    try {
      await this.#flush();
      for (let flushes = 1; this.#observer?.awaitsHook(this) === true; flushes++) {
        assertFlushesEnd(flushes, this.place);
        await this.#flush();
      }
      const blocker = this.#shut();
      if (blocker !== undefined) {
        throw blocker;
      }
      await this.#commit(onFailure);
    } catch (error) {
      if (this.#state === 'usable') {
        this.#fail(error, onFailure);
        await this.#rollBack();
      }
      await this.#observer?.rolledBack(this);
      throw error;
    }
  }

  /** Shuts the gate. @returns why the session cannot be committed, if it cannot */
  #shut(): DbContextError | undefined {
    return this.transaction.shut() ?? this.flushBlocker ?? this.#observer?.blockerOf(this);
  }

  async #commit(onFailure: FailureListener = ignore): Promise<Outcome> {
    try {
      const outcome = await this.commitTransaction();
      this.#renew();
      return outcome;
    } catch (error) {
      if (this.#state === 'usable') {
        this.#fail(error, onFailure);
      }
      this.manager.clear();
      throw error;
    }
  }

  #fail(error: unknown, onFailure: FailureListener): void {
    this.#state = 'failed';
    onFailure(error);
  }

  async #rollBack(): Promise<void> {
    await this.transaction.rollback();
    // S7: what was never saved is not found again.
    this.manager.clear();
    this.#renew();
  }

  #renew(): void {
    if (this.#state === 'usable') {
      this.renewTransaction();
    }
  }

  #exclusively<T>(verb: string, end: () => Promise<T>): Promise<T> {
    this.#assertOutsideEnd(verb);
    return this.#ends.run(() =>
      new EndScope(this).during(() => setAmbientAside(this.manager, end)),
    );
  }

  #assertOutsideEnd(verb: string): void {
    this.transaction.assertNotLent(`${verb}()`);
    const isInside =
      !AsyncScope.isEmpty &&
      AsyncScope.innermost(EndScope, ({ session, isOver }) => session === this && !isOver);
    if (isInside) {
      throw this.#calledWithin(verb, 'commit() or rollback()');
    }
  }

  #calledWithin(verb: string, what: string): InvalidTransactionStateError {
    return new InvalidTransactionStateError(
      this.place,
      `${verb}() was called by a flush hook or a subscriber of the ${what} that is under way. Throw there to undo ` +
        'the transaction.',
    );
  }

  #assertUsable(): void {
    if (this.#state !== 'usable') {
      throw new SessionClosedError(this.place);
    }
  }
}
