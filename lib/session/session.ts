import { EventType, type EntityManager, type TransactionEventType } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { DbContextError, InvalidTransactionStateError, SessionClosedError } from '../errors.js';
import { TransactionLease } from './lease.js';
import { TransactionScope } from './scope.js';
import {
  adopt,
  type BeginOptions,
  type EntityManagerClass,
  type SessionControl,
} from './session-manager.js';
import type { ScopeContext, ScopeContextFactory } from './transaction-context.js';

/** What a connection's sessions share. */
export interface SessionParts {
  readonly connection: DbConnection;
  readonly SessionManager: EntityManagerClass;
  readonly createContext: ScopeContextFactory;
}

/** What became of a transaction: `untouched` when none had begun. */
export type CommitResult = 'committed' | 'untouched';

/**
 * One entity manager with its lazy transaction. It commits in steps, so that a context with
 * several of them can take each step on all before the next: `flush()`, `prepare()`,
 * `complete()`.
 */
export class Session implements SessionControl {
  readonly manager: EntityManager;
  readonly #parts: SessionParts;
  #context: ScopeContext;
  #beginSql = 'begin';
  #isClosed = false;

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
    this.#context = this.#arm();
    const fork = manager ?? parts.connection.orm.em.fork({ disableContextResolution: true });
    this.manager = adopt(fork, parts.SessionManager, this);
  }

  get connectionName(): string {
    return this.#parts.connection.name;
  }

  get context(): ScopeContext {
    return this.#context;
  }

  /** Whether a transaction has begun and not ended yet. */
  get hasBegun(): boolean {
    return this.#context.scope.hasBegun;
  }

  /** Whether it has ended for good; the context then makes a new one. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Begins now rather than with the first statement.
   *
   * @throws {@link InvalidTransactionStateError} it has begun already
   */
  async begin(options: BeginOptions = {}): Promise<void> {
    if (this.#context.scope.hasBegun) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        'begin() was called and the transaction has begun already. Use em.transactional() for a ' +
          'savepoint, or commit() first.',
      );
    }
    this.#beginSql = beginSql(options);
    await this.#context.scope.lease.begin();
  }

  /** Writes the changes of the unit of work. */
  async flush(): Promise<void> {
    await this.manager.flush();
    if (this.#context.scope.hasBegun && !this.#context.scope.isShut) {
      await this.#dispatch(EventType.beforeTransactionCommit);
    }
  }

  /**
   * Shuts the gate, synchronously.
   *
   * @returns why the session cannot be committed, if it cannot
   */
  prepare(): DbContextError | undefined {
    return this.#context.scope.shut();
  }

  /**
   * Commits what `prepare()` let through. Afterwards the session can be used again, in a new
   * transaction; after a failure it is closed.
   *
   * @param final whether it is closed after a success, too
   * @throws {@link UnexpectedRollbackError}, {@link CommitOutcomeUnknownError},
   *   {@link TransactionTimeoutError}, or MikroORM's exception for the server's error
   */
  async complete(final = false): Promise<CommitResult> {
    const { scope } = this.#context;
    this.#isClosed ||= final;
    const result = scope.hasBegun ? 'committed' : 'untouched';
    try {
      await scope.commit();
    } catch (error) {
      this.#discard();
      throw this.manager.getDriver().convertException(error as Error);
    }
    if (result === 'committed') {
      // The row is saved; a subscriber that fails now cannot change that, only be reported.
      await this.#dispatch(EventType.afterTransactionCommit).catch((error: unknown) =>
        this.#parts.connection.report('a subscriber failed after COMMIT', error),
      );
    }
    this.#rearm();
    return result;
  }

  /** Flushes and commits. The next statement begins a new transaction. */
  async commit(): Promise<void> {
    this.#assertUsable();
    await this.flush();
    const objection = this.prepare();
    if (objection !== undefined) {
      await this.close();
      throw objection;
    }
    await this.complete();
  }

  /** Rolls back, forgets all entities, and is ready for a new transaction. */
  async rollback(): Promise<void> {
    this.#assertUsable();
    await this.#rollBack();
    this.#rearm();
  }

  /** Rolls back what is open, for good. May be called again. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      await this.#rollBack();
    }
  }

  async #rollBack(): Promise<void> {
    const { scope } = this.#context;
    const hadBegun = scope.hasBegun;
    // The gate first: no statement may slip in while subscribers are told.
    scope.shut();
    if (hadBegun) {
      await this.#dispatch(EventType.beforeTransactionRollback).catch((error: unknown) =>
        this.#parts.connection.report('a subscriber failed before ROLLBACK', error),
      );
    }
    await scope.rollback();
    this.manager.clear();
    if (hadBegun) {
      await this.#dispatch(EventType.afterTransactionRollback).catch((error: unknown) =>
        this.#parts.connection.report('a subscriber failed after ROLLBACK', error),
      );
    }
  }

  #discard(): void {
    this.#isClosed = true;
    this.manager.clear();
  }

  #rearm(): void {
    if (!this.#isClosed) {
      this.#context = this.#arm();
      this.manager.setTransactionContext(this.#context);
    }
  }

  #arm(): ScopeContext {
    const { connection, createContext } = this.#parts;
    this.#beginSql = 'begin';
    const lease = new TransactionLease(connection, {
      sql: () => this.#beginSql,
      before: () => this.#dispatch(EventType.beforeTransactionStart),
      after: () => this.#dispatch(EventType.afterTransactionStart),
    });
    return createContext(new TransactionScope(lease, connection.limits.savepointTimeoutMs));
  }

  #assertUsable(): void {
    if (this.#isClosed) {
      throw new SessionClosedError(this.connectionName);
    }
  }

  async #dispatch(event: TransactionEventType): Promise<void> {
    const em = this.manager;
    await em.getEventManager().dispatchEvent(event, {
      em,
      uow: em.getUnitOfWork(false),
      transaction: this.#context,
    });
  }
}

function beginSql({ isolationLevel, readOnly }: BeginOptions): string {
  return [
    'begin',
    isolationLevel === undefined ? '' : ` isolation level ${isolationLevel}`,
    readOnly === true ? ' read only' : '',
  ].join('');
}
