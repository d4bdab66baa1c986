import { EventType, type TransactionEventType } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { placeOf, type Holder } from '../connection/claim.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { HookTimeoutError, InvalidTransactionStateError, named } from '../errors.js';
import type { Outcome } from '../outcome.js';
import { beginStatements, mayReadAhead } from '../postgresql/begin-statements.js';
import { mergeSettings, type TransactionSettings } from '../postgresql/transaction-settings.js';
import type { BeginPlan, TransactionEvent, TransactionOwner } from '../transaction/begin-plan.js';
import type { Statement } from '../transaction/server.js';
import { Transaction } from '../transaction/transaction.js';
import { computesSettings, withComputed } from './computed-settings.js';
import type { FlushCode } from './flush-code.js';
import type { KyselyTransaction, KyselyTransactionFactory } from './kysely-transaction.js';

/** What the transactions of a connection share. */
export interface TransactionParts {
  readonly connection: DbConnection;
  readonly createKysely: KyselyTransactionFactory;
  readonly flushCode: FlushCode;
}

/** Whose transaction it is, as MikroORM sees it. */
export interface OrmOwner {
  /** The unit of work that its connection is taken for. */
  readonly holder: Holder | undefined;
  /** Whether a subscriber may listen to an event. */
  hasListeners(event: TransactionEventType): boolean;
  /** Tells MikroORM's subscribers of an event. */
  broadcast(event: TransactionEventType, context?: KyselyTransaction): Promise<void>;
  /** Variables and role of row-level security as MikroORM has them, to be set right after BEGIN. */
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

function beginOfRead({ settings }: BeginPlan): readonly Statement[] {
  return beginStatements({ ...settings, readOnly: true });
}

/** A transaction as MikroORM and its subscribers see it. */
export class OrmTransaction implements TransactionOwner {
  readonly transaction: Transaction;
  /** What MikroORM takes for its transaction context. */
  readonly context: KyselyTransaction;
  readonly #parts: TransactionParts;
  readonly #owner: OrmOwner;

  /** @param settings win over those of the connection */
  constructor(parts: TransactionParts, owner: OrmOwner, settings: TransactionSettings) {
    const { connection } = parts;
    this.#parts = parts;
    this.#owner = owner;
    this.transaction = new Transaction(connection, this, settings);
    this.context = parts.createKysely(
      this.transaction,
      owner.isSession ? undefined : this,
      owner.isWithin,
    );
  }

  get holder(): Holder | undefined {
    return this.#owner.holder;
  }

  /** See {@link TransactionOwner.plansAlone}. */
  get plansAlone(): boolean {
    const { connection } = this.#parts;
    return !connection.preparation.isSet && !computesSettings(connection);
  }

  /** See {@link TransactionOwner.plan}; at once where nothing has to be waited for. */
  plan(settings: TransactionSettings): BeginPlan | Promise<BeginPlan> {
    const { connection } = this.#parts;
    const ready = connection.preparation.run(this.holder);
    return ready === undefined && !computesSettings(connection)
      ? this.#planWith(mergeSettings(connection.transactionOptions.transaction, settings))
      : this.#planLater(ready, settings);
  }

  async #planLater(
    ready: Promise<void> | undefined,
    settings: TransactionSettings,
  ): Promise<BeginPlan> {
    await ready;
    return this.#planWith(await withComputed(this.#parts.connection, settings, this.holder));
  }

  #planWith(settings: TransactionSettings): BeginPlan {
    const owner = this.#owner;
    const isToldBefore = owner.hasListeners(EventType.beforeTransactionStart);
    return {
      settings,
      statements: beginStatements(settings),
      // As MikroORM announces it: there is no transaction yet.
      before: isToldBefore
        ? () => this.#tellWithin('acquireTimeoutMs', EventType.beforeTransactionStart)
        : undefined,
      after: this.#hasWorkAfterBegin ? () => this.#afterBegin() : undefined,
    };
  }

  get #hasWorkAfterBegin(): boolean {
    const owner = this.#owner;
    return (
      owner.sessionContext() !== undefined || owner.hasListeners(EventType.afterTransactionStart)
    );
  }

  async #afterBegin(): Promise<void> {
    const sessionContext = this.#owner.sessionContext();
    if (sessionContext !== undefined) {
      const target: unknown = this.#parts.connection.orm.driver.getConnection('write');
      await (target as SessionContextSupport).applySessionContext(this.context, sessionContext);
    }
    if (this.#owner.hasListeners(EventType.afterTransactionStart)) {
      await this.#owner.broadcast(EventType.afterTransactionStart, this.context);
    }
  }

  /** See {@link TransactionOwner.planMisused}. */
  planMisused(): Error {
    const { holder } = this;
    const { name, preparation } = this.#parts.connection;
    return (
      preparation.misusedBy(holder) ??
      new InvalidTransactionStateError(
        placeOf(name, holder),
        'sessionVariables() or role() used the session whose transaction they are computed for. Read ' +
          'what they need before, or in dbContext.newSession() with a connection of its own name.',
      )
    );
  }

  /** See {@link TransactionOwner.mayReadAhead}. Subscribers of a begin may set what reads depend on. */
  mayReadAhead(settings: TransactionSettings): boolean {
    return (
      settings.begin === 'first-write' &&
      mayReadAhead(settings) &&
      !this.#hasWorkAfterBegin &&
      !this.#owner.hasListeners(EventType.beforeTransactionStart)
    );
  }

  /** See {@link TransactionOwner.planOfRead}. */
  planOfRead(settings: TransactionSettings): readonly Statement[] | Promise<readonly Statement[]> {
    const plan = this.plan(settings);
    return plan instanceof Promise ? plan.then(beginOfRead) : beginOfRead(plan);
  }

  /** Tells subscribers that a commit is to come; they may still send statements, or throw. */
  announceCommit(): Promise<void> | undefined {
    const { hasBegun, isShut } = this.transaction;
    const event = EventType.beforeTransactionCommit;
    return hasBegun && !isShut && this.#owner.hasListeners(event)
      ? this.#owner.broadcast(event, this.context)
      : undefined;
  }

  /** See {@link TransactionOwner.announce}. */
  announce(event: TransactionEvent): Promise<void> | undefined {
    return this.#owner.hasListeners(EventType[event])
      ? this.#announce(EventType[event])
      : undefined;
  }

  async #announce(event: TransactionEventType): Promise<void> {
    const { name, report } = this.#parts.connection;
    try {
      await this.#tellWithin('endTimeoutMs', event, this.context);
    } catch (error) {
      const place = placeOf(name, this.holder);
      report(`a subscriber of ${event} on connection ${named(place)} failed`, error);
    }
  }

  /**
   * Commits. Once.
   *
   * @throws {@link UnexpectedRollbackError}, {@link CommitOutcomeUnknownError},
   *   {@link TransactionTimeoutError}, or MikroORM's exception for the server's error
   */
  async commit(): Promise<Outcome> {
    try {
      return await this.transaction.commit();
    } catch (error) {
      throw this.#parts.connection.orm.driver.convertException(error as Error);
    }
  }

  /** Rolls back, unless it is committed. Never throws. */
  async rollback(): Promise<void> {
    await this.transaction.rollback();
  }

  /** @throws what a subscriber throws, {@link HookTimeoutError} */
  async #tellWithin(
    limit: 'acquireTimeoutMs' | 'endTimeoutMs',
    event: TransactionEventType,
    context?: KyselyTransaction,
  ): Promise<void> {
    const { name, limits } = this.#parts.connection;
    const limitMs = limits[limit];
    if ((await withinLimit(this.#owner.broadcast(event, context), limitMs)) === TIMED_OUT) {
      throw new HookTimeoutError(
        `a subscriber of ${event}`,
        limitMs,
        limit,
        placeOf(name, this.holder),
      );
    }
  }
}
