import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager, TransactionEventType } from '@mikro-orm/core';

import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import type { BeginSettings } from './begin-sql.js';
import { LazyTransaction, type CommitResult, type TransactionParts } from './lazy-transaction.js';
import { innermostFork } from './nesting.js';
import { adopt, type EntityManagerClass, type SessionControl } from './session-manager.js';
import type { ScopeContext } from './transaction-context.js';

/** What the sessions of a connection share. */
export interface SessionParts extends TransactionParts {
  readonly SessionManager: EntityManagerClass;
}

/** The end of a session that the current code is part of. */
interface InsideEnd {
  readonly session: Session;
  isOver: boolean;
}

const insideEnd = new AsyncLocalStorage<InsideEnd>();

/**
 * One entity manager with its lazy transaction, which is replaced by a new one each time it ends.
 * It commits in steps, so that a context with several of them can take each step on all before
 * the next: `flush()`, `prepare()`, `complete()`.
 */
export class Session implements SessionControl {
  readonly manager: EntityManager;
  readonly #parts: SessionParts;
  #transaction: LazyTransaction;
  #isClosed = false;
  /** Ends of transactions, one after another: what a later one finds is a new transaction. */
  #ends: Promise<unknown> = Promise.resolve();
  #endsUnfinished = 0;

  /**
   * @param manager a fork to become the session; by default a new one
   * @throws {@link InvalidTransactionStateError} `manager` is in a transaction of its own
   */
  constructor(parts: SessionParts, manager?: EntityManager) {
    this.#parts = parts;
    if (manager !== undefined && (manager.global || manager.isInTransaction())) {
      throw new InvalidTransactionStateError(
        parts.connection.name,
        'only a fork (orm.em.fork()) that is in no transaction can become the session.',
      );
    }
    this.#transaction = this.#arm();
    const fork = manager ?? parts.connection.orm.em.fork({ disableContextResolution: true });
    this.manager = adopt(fork, parts.SessionManager, this);
  }

  get connectionName(): string {
    return this.#parts.connection.name;
  }

  get context(): ScopeContext {
    return this.#transaction.context;
  }

  /** Whether a transaction has begun and not ended yet. */
  get hasBegun(): boolean {
    return this.#transaction.hasBegun;
  }

  /** Whether it has ended for good; the context then makes a new one. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether entities wait to be inserted or removed. */
  get hasPendingChanges(): boolean {
    const uow = this.manager.getUnitOfWork(false);
    const stacks = [uow.getPersistStack(), uow.getRemoveStack(), uow.getOrphanRemoveStack()];
    return stacks.some((stack) => stack.size > 0);
  }

  /** See {@link LazyTransaction.begin}. */
  async begin(settings: BeginSettings = {}): Promise<void> {
    await this.#transaction.begin(settings);
  }

  /** See {@link LazyTransaction.demand}. */
  async demand(settings: BeginSettings): Promise<void> {
    await this.#transaction.demand(settings);
  }

  /** Writes the changes of the unit of work, after an end that is still under way. */
  async flush(): Promise<void> {
    this.#assertOutsideEnd('commit');
    await this.#ends;
    await this.manager.flush();
    await this.#transaction.announceCommit();
  }

  /**
   * Shuts the gate, synchronously.
   *
   * @returns why the session cannot be committed, if it cannot
   */
  prepare(): DbContextError | undefined {
    return this.#endsUnfinished > 0
      ? new UnexpectedRollbackError(this.connectionName, 'unawaited-statements')
      : this.#transaction.shut();
  }

  /**
   * Commits what `prepare()` let through. Afterwards the session can be used again, in a new
   * transaction; after a failure it is closed.
   *
   * @param final whether it is closed after a success, too
   * @throws what {@link LazyTransaction.commit} throws
   */
  complete(final = false): Promise<CommitResult> {
    this.#isClosed ||= final;
    return this.#exclusively('commit', () => this.#commit());
  }

  /** Flushes and commits. The next statement begins a new transaction. */
  async commit(): Promise<void> {
    await this.#exclusively('commit', async () => {
      this.#assertUsable();
      await this.manager.flush();
      await this.#transaction.announceCommit();
      const objection = this.#transaction.shut();
      if (objection !== undefined) {
        this.#isClosed = true;
        await this.#rollBack();
        throw objection;
      }
      await this.#commit();
    });
  }

  /** Rolls back, forgets all entities, and is ready for a new transaction. */
  async rollback(): Promise<void> {
    await this.#exclusively('rollback', () => {
      this.#assertUsable();
      return this.#rollBack();
    });
  }

  /** Rolls back what is open, for good. May be called again. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#transaction.shut();
      // A commit() that hangs in its flush would hold this up.
      const hurried = this.#endsUnfinished > 0 ? this.context.scope.lease.rollback() : undefined;
      await Promise.all([hurried, this.#exclusively('close', () => this.#rollBack())]);
    }
  }

  /** @throws {@link InvalidTransactionStateError} the calling code is inside em.transactional() */
  assertNotNested(verb: string): void {
    if ((innermostFork(this.manager) ?? this.manager) !== this.manager) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        `${verb}() was called inside em.transactional(). Return from its callback to keep the ` +
          'work, or throw to undo it.',
      );
    }
  }

  async #commit(): Promise<CommitResult> {
    try {
      const result = await this.#transaction.commit();
      this.#rearm();
      return result;
    } catch (error) {
      // The unit of work no longer knows what the database holds.
      this.#isClosed = true;
      this.manager.clear();
      throw error;
    }
  }

  async #rollBack(): Promise<void> {
    await this.#transaction.rollback();
    this.manager.clear();
    this.#rearm();
  }

  async #exclusively<T>(verb: string, end: () => Promise<T>): Promise<T> {
    this.#assertOutsideEnd(verb);
    this.#endsUnfinished++;
    const inside: InsideEnd = { session: this, isOver: false };
    const result = this.#ends
      .then(() => insideEnd.run(inside, end))
      .finally(() => {
        inside.isOver = true;
        this.#endsUnfinished--;
      });
    this.#ends = result.catch(() => undefined);
    return result;
  }

  /** An end that waits for the one it is part of would wait for ever. */
  #assertOutsideEnd(verb: string): void {
    const inside = insideEnd.getStore();
    if (inside?.session === this && !inside.isOver) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        `${verb}() was called by a flush hook or a subscriber of the commit() or rollback() that is ` +
          'under way. Throw there to undo the transaction.',
      );
    }
  }

  #rearm(): void {
    if (!this.#isClosed) {
      this.#transaction = this.#arm();
      this.manager.setTransactionContext(this.context);
    }
  }

  #arm(): LazyTransaction {
    return new LazyTransaction(this.#parts, {
      broadcast: (event, context) => this.#broadcast(event, context),
      // Staged before the fork became the session, which is always in a transaction.
      sessionContext: () => this.manager.getTransactionSessionContext(),
      isSession: true,
    });
  }

  async #broadcast(event: TransactionEventType, transaction: ScopeContext): Promise<void> {
    const em = this.manager;
    const uow = em.getUnitOfWork(false);
    await em.getEventManager().dispatchEvent(event, { em, uow, transaction });
  }

  #assertUsable(): void {
    if (this.#isClosed) {
      throw new SessionClosedError(this.connectionName);
    }
  }
}
