import { EventType, type TransactionEventType } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import type { Holder } from '../connection/pool-claims.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { HookTimeoutError, InvalidTransactionStateError, type DbContextError } from '../errors.js';
import { isCovered, mergeSettings, type TransactionSettings } from '../transaction-settings.js';
import { beginStatements, mayReadAhead, type BeginStatement } from './begin-sql.js';
import { computesSettings, withComputed } from './computed-settings.js';
import type { ContextPart } from './context-part.js';
import { TransactionLease, type LeaseBegin } from './lease.js';
import type { LeaseWatch } from './lease-watch.js';
import { isPlainRead } from './plain-read.js';
import { TransactionScope } from './scope.js';
import type { ScopeContext, ScopeContextFactory } from './transaction-context.js';

/** What the transactions of a connection share. */
export interface TransactionParts {
  readonly connection: DbConnection;
  readonly createContext: ScopeContextFactory;
}

/** Whose transaction it is. */
export interface TransactionOwner {
  /** The unit of work that its connection is taken for. */
  readonly holder: Holder | undefined;
  readonly watch: LeaseWatch | undefined;
  /** Whether anybody may want to be told of an event. */
  hasListeners(event: TransactionEventType): boolean;
  /** Tells MikroORM's subscribers of an event. */
  broadcast(event: TransactionEventType, context?: ScopeContext): Promise<void>;
  /** Variables and role of row-level security, to be set right after BEGIN. */
  sessionContext(): unknown;
  /** Whether it is a session's: only the session may then end it. */
  readonly isSession: boolean;
  /** Whether the statements of the calling code are part of it, where that may differ. */
  readonly isWithin?: (() => boolean) | undefined;
}

/** MikroORM's way to set variables and role. */
interface SessionContextSupport {
  applySessionContext(context: unknown, sessionContext: unknown): Promise<void>;
}

/** What became of a transaction: `untouched` when none had begun. */
export type CommitResult = 'committed' | 'untouched';

/**
 * A transaction that begins with its first statement, as MikroORM and its subscribers see it. What
 * it does to the connection is up to its scope and its lease.
 */
export class LazyTransaction implements LeaseBegin, ContextPart {
  readonly context: ScopeContext;
  readonly #parts: TransactionParts;
  readonly #owner: TransactionOwner;
  #settings: TransactionSettings;
  /** With those of the connection. */
  #merged: TransactionSettings | undefined;
  /** With what is computed for the context, as soon as it is. */
  #computed: TransactionSettings | undefined;
  #rollingBack: Promise<void> | undefined;

  /** @param settings win over those of the connection */
  constructor(
    parts: TransactionParts,
    owner: TransactionOwner,
    settings: TransactionSettings = {},
  ) {
    this.#parts = parts;
    this.#owner = owner;
    this.#settings = settings;
    const { connection } = parts;
    const lease = new TransactionLease(connection, this);
    const scope = new TransactionScope(lease, connection.limits.savepointTimeoutMs);
    this.context = parts.createContext(scope, owner.isSession, owner.isWithin);
  }

  get connectionName(): string {
    return this.#parts.connection.name;
  }

  get holder(): Holder | undefined {
    return this.#owner.holder;
  }

  get watch(): LeaseWatch | undefined {
    return this.#owner.watch;
  }

  get hasBegun(): boolean {
    return this.context.scope.hasBegun;
  }

  /**
   * Begins now rather than with the first statement.
   *
   * @throws {@link InvalidTransactionStateError} it has begun already
   */
  async begin(settings: TransactionSettings): Promise<void> {
    if (this.hasBegun) {
      throw new InvalidTransactionStateError(
        this.#parts.connection.name,
        'begin() was called and the transaction has begun already. Use em.transactional() for a ' +
          'savepoint, or commit() first.',
      );
    }
    this.demand(settings);
    await this.context.scope.lease.begin();
  }

  /**
   * Makes the transaction begin with these settings, when it does.
   *
   * @throws {@link InvalidTransactionStateError} it has begun with others
   */
  demand(settings: TransactionSettings): void {
    if (!this.hasBegun) {
      this.#settings = mergeSettings(this.#settings, settings);
      this.#merged = undefined;
    } else if (!isCovered(settings, this.#computed ?? this.#effective)) {
      throw new InvalidTransactionStateError(
        this.#parts.connection.name,
        'settings (isolation level, read-only mode, timeouts, variables or role) were asked for, and ' +
          'the transaction has begun without them. Ask before the first statement, or with ' +
          'propagation "requires_new".',
      );
    }
  }

  get #effective(): TransactionSettings {
    this.#merged ??= mergeSettings(
      this.#parts.connection.transactionOptions.transaction,
      this.#settings,
    );
    return this.#merged;
  }

  /** See {@link LeaseBegin.isReadOnly}. */
  isReadOnly(): boolean {
    return this.#effective.readOnly === true;
  }

  /** See {@link LeaseBegin.mayReadReplica}. A standby knows no serializable transactions. */
  mayReadReplica(): boolean {
    return this.isReadOnly() && this.#effective.isolationLevel !== 'serializable';
  }

  /** See {@link LeaseBegin.mayRide}. */
  mayRide(): boolean {
    return (
      this.#owner.sessionContext() === undefined &&
      !this.#owner.hasListeners(EventType.afterTransactionStart)
    );
  }

  /** See {@link LeaseBegin.readAhead}. */
  readAhead(sql: string): (() => Promise<readonly BeginStatement[]>) | undefined {
    const { connection } = this.#parts;
    const wish = this.#settings.begin ?? connection.transactionOptions.transaction?.begin;
    if (wish !== 'first-write' || !mayReadAhead(this.#effective) || !isPlainRead(sql)) {
      return undefined;
    }
    // Whoever is told of a begin may set what the reads depend on.
    const mayBeUntold =
      this.mayRide() && !this.#owner.hasListeners(EventType.beforeTransactionStart);
    return mayBeUntold ? () => this.#beginOfRead() : undefined;
  }

  async #beginOfRead(): Promise<readonly BeginStatement[]> {
    return beginStatements({ ...(await this.#compute()), readOnly: true });
  }

  /** The settings, with those of the current context; at once where nothing is to be waited for. */
  #compute(): TransactionSettings | Promise<TransactionSettings> {
    const { connection } = this.#parts;
    const ready = connection.beforeSession();
    const compute = (): TransactionSettings | Promise<TransactionSettings> =>
      computesSettings(connection) ? withComputed(connection, this.#settings) : this.#effective;
    return ready === undefined ? compute() : ready.then(compute);
  }

  /** Tells subscribers that a commit is to come; they may still run statements, or throw. */
  async announceCommit(): Promise<void> {
    const event = EventType.beforeTransactionCommit;
    if (this.hasBegun && !this.context.scope.isShut && this.#owner.hasListeners(event)) {
      await this.#owner.broadcast(event, this.context);
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

  /** Rolls back, unless it is committed; once. Never throws. */
  rollback(): Promise<void> {
    this.#rollingBack ??= this.#rollBack();
    return this.#rollingBack;
  }

  async #rollBack(): Promise<void> {
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

  /** See {@link LeaseBegin.before}. */
  before(): Promise<void> | undefined {
    const isTold = this.#owner.hasListeners(EventType.beforeTransactionStart);
    const settings = this.#compute();
    if (settings instanceof Promise || isTold) {
      return this.#prepare(settings);
    }
    this.#computed = settings;
    return undefined;
  }

  /** Computed first: a subscriber may send a statement, which begins. */
  async #prepare(settings: TransactionSettings | Promise<TransactionSettings>): Promise<void> {
    this.#computed = await settings;
    // As MikroORM tells of it: there is no transaction yet.
    await this.#tellWithin('acquireTimeoutMs', EventType.beforeTransactionStart);
  }

  /** See {@link LeaseBegin.statements}. */
  statements(): readonly BeginStatement[] {
    if (this.#computed === undefined) {
      throw (
        this.#parts.connection.beforeSessionMisused ??
        new InvalidTransactionStateError(
          this.#parts.connection.name,
          'sessionVariables() or role() used the session whose transaction they are computed for. Read ' +
            'what they need before, or in dbContext.newSession() with a connection of its own name.',
        )
      );
    }
    return beginStatements(this.#computed);
  }

  /** See {@link LeaseBegin.after}. */
  async after(): Promise<void> {
    const sessionContext = this.#owner.sessionContext();
    if (sessionContext !== undefined) {
      const target: unknown = this.#parts.connection.orm.driver.getConnection('write');
      const support = target as SessionContextSupport;
      await support.applySessionContext(this.context, sessionContext);
    }
    if (this.#owner.hasListeners(EventType.afterTransactionStart)) {
      await this.#owner.broadcast(EventType.afterTransactionStart, this.context);
    }
  }

  /** Tells subscribers of what they cannot change. */
  async #tell(event: TransactionEventType): Promise<void> {
    const { name, report } = this.#parts.connection;
    try {
      await this.#tellWithin('endTimeoutMs', event, this.context);
    } catch (error) {
      report(`a subscriber of ${event} on connection "${name}" failed`, error);
    }
  }

  /** @throws what a subscriber throws, {@link HookTimeoutError} */
  async #tellWithin(
    limit: 'acquireTimeoutMs' | 'endTimeoutMs',
    event: TransactionEventType,
    context?: ScopeContext,
  ): Promise<void> {
    if (!this.#owner.hasListeners(event)) {
      return;
    }
    const limitMs = this.#parts.connection.limits[limit];
    if ((await withinLimit(this.#owner.broadcast(event, context), limitMs)) === TIMED_OUT) {
      throw new HookTimeoutError(`a subscriber of ${event}`, limitMs, limit);
    }
  }
}
