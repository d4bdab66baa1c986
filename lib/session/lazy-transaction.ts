import { EventType, type TransactionEventType } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { InvalidTransactionStateError, type DbContextError } from '../errors.js';
import { beginSql, type BeginSettings } from './begin-sql.js';
import { TransactionLease } from './lease.js';
import { TransactionScope } from './scope.js';
import type { ScopeContext, ScopeContextFactory } from './transaction-context.js';

/** What the transactions of a connection share. */
export interface TransactionParts {
  readonly connection: DbConnection;
  readonly createContext: ScopeContextFactory;
}

/** Tells MikroORM's subscribers of an event of a transaction. */
export type TransactionBroadcast = (
  event: TransactionEventType,
  context: ScopeContext,
) => Promise<void>;

/** What became of a transaction: `untouched` when none had begun. */
export type CommitResult = 'committed' | 'untouched';

/**
 * A transaction that begins with its first statement, as MikroORM and its subscribers see it. What
 * it does to the connection is up to its scope and its lease.
 */
export class LazyTransaction {
  readonly context: ScopeContext;
  readonly #parts: TransactionParts;
  readonly #broadcast: TransactionBroadcast;
  #settings: BeginSettings;

  constructor(
    parts: TransactionParts,
    broadcast: TransactionBroadcast,
    settings: BeginSettings = {},
  ) {
    this.#parts = parts;
    this.#broadcast = broadcast;
    this.#settings = settings;
    const { connection } = parts;
    const lease = new TransactionLease(connection, {
      sql: () => beginSql(this.#settings),
      before: () => broadcast(EventType.beforeTransactionStart, this.context),
      after: () => broadcast(EventType.afterTransactionStart, this.context),
    });
    const scope = new TransactionScope(lease, connection.limits.savepointTimeoutMs);
    this.context = parts.createContext(scope);
  }

  get hasBegun(): boolean {
    return this.context.scope.hasBegun;
  }

  /**
   * Begins now rather than with the first statement.
   *
   * @throws {@link InvalidTransactionStateError} it has begun already
   */
  async begin(settings: BeginSettings): Promise<void> {
    if (this.hasBegun) {
      throw new InvalidTransactionStateError(
        this.#parts.connection.name,
        'begin() was called and the transaction has begun already. Use em.transactional() for a ' +
          'savepoint, or commit() first.',
      );
    }
    this.#settings = settings;
    await this.context.scope.lease.begin();
  }

  /** Tells subscribers that a commit is to come; they may still run statements, or throw. */
  async announceCommit(): Promise<void> {
    if (this.hasBegun && !this.context.scope.isShut) {
      await this.#broadcast(EventType.beforeTransactionCommit, this.context);
    }
  }

  /**
   * Shuts the gate, synchronously. May be asked again.
   *
   * @returns why it cannot be committed, if it cannot
   */
  shut(): DbContextError | undefined {
    return this.context.scope.shut();
  }

  /**
   * Commits. Once.
   *
   * @throws {@link UnexpectedRollbackError}, {@link CommitOutcomeUnknownError},
   *   {@link TransactionTimeoutError}, or MikroORM's exception for the server's error
   */
  async commit(): Promise<CommitResult> {
    const { hasBegun } = this;
    try {
      await this.context.scope.commit();
    } catch (error) {
      throw this.#parts.connection.orm.driver.convertException(error as Error);
    }
    if (!hasBegun) {
      return 'untouched';
    }
    // The work is saved; a subscriber that fails now cannot change that, only be reported.
    await this.#tell(EventType.afterTransactionCommit);
    return 'committed';
  }

  /** Rolls back, unless it is committed. Never throws. */
  async rollback(): Promise<void> {
    const { hasBegun } = this;
    const { scope } = this.context;
    if (scope.state === 'committed') {
      return;
    }
    // The gate first: no statement may slip in while subscribers are told.
    scope.shut();
    if (hasBegun) {
      await this.#tell(EventType.beforeTransactionRollback);
    }
    await scope.rollback();
    if (hasBegun) {
      await this.#tell(EventType.afterTransactionRollback);
    }
  }

  /** Tells subscribers of what they cannot change. */
  async #tell(event: TransactionEventType): Promise<void> {
    const { name, limits, report } = this.#parts.connection;
    try {
      const told = await withinLimit(this.#broadcast(event, this.context), limits.endTimeoutMs);
      if (told === TIMED_OUT) {
        report(
          `a subscriber of ${event} on connection "${name}" failed`,
          new Error(`it did not return within ${limits.endTimeoutMs} ms`),
        );
      }
    } catch (error) {
      report(`a subscriber of ${event} on connection "${name}" failed`, error);
    }
  }
}
