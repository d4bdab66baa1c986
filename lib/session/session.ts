import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager, TransactionEventType } from '@mikro-orm/core';

import type { Holder } from '../connection/pool-claims.js';
import {
  CommitOutcomeUnknownError,
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import { hasSettings, mergeSettings, type TransactionSettings } from '../transaction-settings.js';
import type { ContextPart } from './context-part.js';
import type { LeaseWatch } from './lease-watch.js';
import {
  LazyTransaction,
  type CommitResult,
  type TransactionOwner,
  type TransactionParts,
} from './lazy-transaction.js';
import { innermostFork, innermostScope } from './nesting.js';
import type { TransactionScope } from './scope.js';
import { adopt, type EntityManagerClass, type SessionControl } from './session-manager.js';
import { asScopeContext, type ScopeContext } from './transaction-context.js';

/** Who is told of the ends of a session. */
export interface SessionObserver {
  /** Before the flush of a commit, when there is something to commit. */
  beforeCommit(session: Session): Promise<void> | undefined;
  afterEarlyCommit(session: Session): Promise<void>;
  afterEarlyRollback(session: Session): Promise<void>;
}

/** The context that a session is part of, as the session sees it. */
export interface ContextOfSession {
  /** The early commits that failed in it. */
  readonly failedCommits: {
    note(connectionName: string, error: unknown): void;
    forget(connectionName: string): void;
    objectionTo(connectionName: string): DbContextError | undefined;
  };
  /** See {@link SessionControl.own}. */
  own(part: ContextPart): () => void;
}

/** What the sessions of a connection share. */
export interface SessionParts extends TransactionParts {
  readonly SessionManager: EntityManagerClass;
}

/** How a session is made. */
export interface SessionOptions {
  /** Win over those of the connection. */
  readonly settings?: TransactionSettings | undefined;
  /** The unit of work that it is part of. */
  readonly holder?: Holder | undefined;
  readonly watch?: LeaseWatch | undefined;
  /** A fork to become the session; by default a new one. */
  readonly manager?: EntityManager;
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
export class Session implements SessionControl, TransactionOwner {
  readonly manager: EntityManager;
  readonly holder: Holder | undefined;
  readonly watch: LeaseWatch | undefined;
  readonly #parts: SessionParts;
  #transaction: LazyTransaction;
  #observer: SessionObserver | undefined;
  /** Of all its transactions; a single one may have more. */
  #settings: TransactionSettings;
  #isClosed = false;
  /** Whether its gate is shut and its COMMIT is to come: nobody else may end it in between. */
  #isPrepared = false;
  #ofContext: ContextOfSession | undefined;
  /** Ends of transactions, one after another: what a later one finds is a new transaction. */
  #ends: Promise<unknown> = Promise.resolve();
  #endsUnfinished = 0;

  /** @throws {@link InvalidTransactionStateError} `manager` is in a transaction of its own */
  constructor(parts: SessionParts, { settings = {}, holder, watch, manager }: SessionOptions) {
    this.#parts = parts;
    this.#settings = settings;
    this.holder = holder;
    this.watch = watch;
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

  /** The transaction, or the savepoint of it, that the calling code runs in. */
  get currentScope(): TransactionScope {
    const { scope } = this.context;
    const fork = innermostFork(this.manager);
    // That of `requires_new` lies in no scope of this session.
    return asScopeContext(fork?.getTransactionContext())?.scope ?? innermostScope(scope) ?? scope;
  }

  /** Whether a commit has anything to do. */
  get hasWork(): boolean {
    return this.hasBegun || this.hasPendingChanges;
  }

  /**
   * Tells `observer`, and nobody else, of the ends from now on.
   *
   * @param context what it is then part of; nothing once it is taken out
   */
  observe(observer: SessionObserver | undefined, context?: ContextOfSession): void {
    this.#observer = observer;
    this.#ofContext = context;
  }

  /** See {@link SessionControl.own}. */
  own(part: ContextPart): () => void {
    return this.#ofContext?.own(part) ?? ignore;
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
  async begin(settings: TransactionSettings = {}): Promise<void> {
    await this.#transaction.begin(settings);
  }

  /** See {@link LazyTransaction.demand}. */
  demand(settings: TransactionSettings): void {
    const fork = innermostFork(this.manager);
    const scope = asScopeContext(fork?.getTransactionContext())?.scope;
    if (scope !== undefined && scope.root !== this.context.scope && hasSettings(settings)) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        'settings were asked for inside of a transaction with propagation "requires_new". Give that ' +
          'one its settings: em.transactional(callback, { isolationLevel, readOnly }).',
      );
    }
    this.#transaction.demand(settings);
  }

  /** Makes this and all later transactions begin with these settings; otherwise as `demand()`. */
  configure(settings: TransactionSettings): void {
    this.#transaction.demand(settings);
    this.#settings = mergeSettings(this.#settings, settings);
  }

  get settings(): TransactionSettings {
    return this.#settings;
  }

  /** See {@link TransactionLease.whileOpen}. */
  whileOpen<T>(work: Promise<T>): Promise<T> {
    return this.context.scope.lease.whileOpen(work);
  }

  /** Writes the changes of the unit of work, after an end that is still under way. */
  async flush(): Promise<void> {
    this.#assertOutsideEnd('commit');
    if (this.#endsUnfinished > 0) {
      await this.#ends;
    }
    await this.#flush();
  }

  /**
   * Shuts the gate, synchronously.
   *
   * @returns why the session cannot be committed, if it cannot
   */
  prepare(): DbContextError | undefined {
    this.#isPrepared = true;
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
    return this.#exclusively('commit', () => {
      this.#isPrepared = false;
      return this.#commit();
    });
  }

  /**
   * Flushes and commits. The next statement begins a new transaction.
   *
   * @param isOfBlock whether it is that of a block, whose caller gets the error; after any other one
   *   that fails, the context cannot be committed until somebody calls `rollback()`
   * @throws {@link UnexpectedRollbackError} one has failed before
   */
  async commit(isOfBlock = false): Promise<void> {
    await this.#exclusively('commit', async () => {
      this.#assertUsable();
      const failedCommits = isOfBlock ? undefined : this.#ofContext?.failedCommits;
      const objection = failedCommits?.objectionTo(this.connectionName);
      if (objection !== undefined) {
        throw objection;
      }
      try {
        await this.#flushAndCommit();
      } catch (error) {
        failedCommits?.note(this.connectionName, error);
        throw error;
      }
      await this.#observer?.afterEarlyCommit(this);
    });
  }

  /**
   * Rolls back, forgets all entities, and is ready for a new transaction.
   *
   * @param isTold whether the observer is told; otherwise the caller tells it
   */
  async rollback(isTold = true): Promise<void> {
    await this.#exclusively('rollback', async () => {
      this.#assertUsable();
      this.#ofContext?.failedCommits.forget(this.connectionName);
      await this.#rollBack();
      if (isTold) {
        await this.#observer?.afterEarlyRollback(this);
      }
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
    this.#assertOutsideEnd(verb);
    if ((innermostFork(this.manager) ?? this.manager) !== this.manager) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        `${verb}() was called inside em.transactional(). Return from its callback to keep the ` +
          'work, or throw to undo it.',
      );
    }
  }

  async #flush(): Promise<void> {
    // Not first into a transaction that has failed: its first failure is the one to be told.
    this.context.scope.assertNotFailed();
    await this.whileOpen(this.#flushWithHooks());
  }

  async #flushWithHooks(): Promise<void> {
    if (this.hasWork) {
      await this.#observer?.beforeCommit(this);
      // A hook may have swallowed the failure of a statement, too.
      this.context.scope.assertNotFailed();
    }
    await this.manager.flush();
    await this.#transaction.announceCommit();
  }

  async #flushAndCommit(): Promise<void> {
    try {
      await this.#flush();
      const objection = this.#transaction.shut();
      if (objection !== undefined) {
        throw objection;
      }
    } catch (error) {
      await this.#discard();
      await this.#observer?.afterEarlyRollback(this);
      throw error;
    }
    try {
      await this.#commit();
    } catch (error) {
      if (!(error instanceof CommitOutcomeUnknownError)) {
        await this.#observer?.afterEarlyRollback(this);
      }
      throw error;
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

  /** After an end that failed: the unit of work no longer knows what the database holds. */
  async #discard(): Promise<void> {
    this.#isClosed = true;
    await this.#rollBack();
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
    const run = async (): Promise<T> => {
      try {
        return await insideEnd.run(inside, end);
      } finally {
        inside.isOver = true;
        this.#endsUnfinished--;
      }
    };
    const result = this.#endsUnfinished === 1 ? run() : this.#ends.then(run);
    this.#ends = result.then(ignore, ignore);
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
    return new LazyTransaction(this.#parts, this, this.#settings);
  }

  /** See {@link TransactionOwner.isSession}. */
  get isSession(): true {
    return true;
  }

  /** See {@link TransactionOwner.hasListeners}. */
  hasListeners(event: TransactionEventType): boolean {
    for (const subscriber of this.manager.getEventManager().getSubscribers()) {
      if (subscriber[event] !== undefined) {
        return true;
      }
    }
    return false;
  }

  /** See {@link TransactionOwner.sessionContext}. */
  sessionContext(): unknown {
    // Staged before the fork became the session, which is always in a transaction.
    return this.manager.getTransactionSessionContext();
  }

  /** See {@link TransactionOwner.broadcast}. */
  async broadcast(event: TransactionEventType, transaction?: ScopeContext): Promise<void> {
    const em = this.manager;
    const uow = em.getUnitOfWork(false);
    await em.getEventManager().dispatchEvent(event, { em, uow, transaction });
  }

  #assertUsable(): void {
    if (this.#isClosed || this.#isPrepared) {
      throw new SessionClosedError(this.connectionName);
    }
  }
}

const ignore = (): void => undefined;
