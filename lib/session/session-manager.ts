import {
  EntityManager,
  type Connection,
  type ConnectionType,
  type Transaction,
  type TransactionOptions,
} from '@mikro-orm/core';

import { placeOf } from '../connection/claim.js';
import { SessionClosedError, type ErrorPlace } from '../errors.js';
import { flush, sessionFork } from '../telemetry/channels.js';
import { tracedFlush } from '../telemetry/flush-trace.js';
import { ForkEvent } from '../telemetry/session-events.js';
import type { Failure } from '../transaction/transaction-state.js';
import type { Autocommit } from './autocommit.js';
import { assertMayFlush, isFlushIdle } from './changes.js';
import { deletionHandlerOf } from './deletion-handler.js';
import { flushInTurn, isFlushing, isFlushUnderWay, LAST_FLUSH } from './flush-turns.js';
import { asKyselyTransaction, isAutocommit } from './kysely-transaction.js';
import { settingsOf } from './mikro-orm-settings.js';
import { NestedTransaction } from './nested-transaction.js';
import {
  assertNotFailed,
  assertNotNested,
  endTransaction,
  outsideOf,
  ownStatements,
  prepareNesting,
} from './nesting.js';
import type { TransactionParts } from './orm-transaction.js';
import { keepOrphans } from './orphans.js';
import { hasWorkOfItsOwn } from './own-fork.js';
import { ownedConnection, type TransactionOrigin } from './owned-connection.js';
import {
  CONTROL,
  controlOf,
  FLUSH_FAILURE,
  NESTED,
  ORIGIN,
  OVER,
  ROOT,
  type SessionControl,
  type SessionManager,
} from './session-marks.js';

/** What `em.begin()` takes. */
export type BeginOptions = Omit<TransactionOptions, 'ignoreNestedTransactions'>;

/** The EntityManager class of a driver, or the application's own one. */
export type EntityManagerClass = new (
  ...args: ConstructorParameters<typeof EntityManager>
) => EntityManager;

/**
 * The entity manager class of a session: MikroORM's own, with what a lazy transaction needs.
 *
 * - `commit()` and `rollback()` end the transaction, and the next one is begun by the next statement
 *   (C1).
 * - The transaction context is never taken away: without it the next statement would run in
 *   autocommit on another connection (L3).
 * - Inside of `em.transactional()` the session is the fork that MikroORM made for the callback (C6).
 *
 * A fork of a session (`em.fork()`) is of this class too, but has no session behind it and behaves as
 * any fork (W2); only its transactions begin with the settings of the session.
 */
export function sessionManagerClass(
  Base: EntityManagerClass,
  parts: TransactionParts,
): EntityManagerClass {
  const { name: connectionName, telemetry } = parts.connection;
  const { isPlain, deletionHandlers } = parts.flushCode;

  const errorPlaceOf = (manager: SessionManager): ErrorPlace =>
    placeOf(connectionName, (manager[CONTROL] ?? manager[ORIGIN])?.holder);

  return class extends Base implements SessionManager {
    // All of them from the beginning, so that sessions, their forks and what has flushed have one shape.
    [CONTROL]?: SessionControl | undefined = undefined;
    [ROOT]?: EntityManager | undefined = undefined;
    [ORIGIN]?: TransactionOrigin | undefined = undefined;
    [NESTED]?: boolean = false;
    [OVER]?: boolean = false;
    [FLUSH_FAILURE]?: Failure | undefined = undefined;
    [LAST_FLUSH]?: Promise<void> | undefined = undefined;

    override getContext(validate?: boolean): this {
      if (this[OVER] === true) {
        // No transaction that has ended refuses what the callback left behind.
        throw new SessionClosedError(errorPlaceOf(this));
      }
      if (this[CONTROL] === undefined) {
        return super.getContext(validate);
      }
      // MikroORM asks many times in each of its methods.
      return this[NESTED] === true
        ? ((NestedTransaction.forkOf(this) as this | undefined) ?? this)
        : this;
    }

    override setTransactionContext(context?: Transaction): void {
      const control = this[CONTROL];
      if (control !== undefined && this.getContext(false) !== this) {
        // MikroORM would write it into that fork: it puts back what `requires_new` had suspended.
        return;
      }
      const isUsable = control === undefined || asKyselyTransaction(context)?.part.isShut === false;
      // MikroORM puts back the context that a flush began with; meanwhile that may have ended.
      super.setTransactionContext(isUsable ? context : control.context);
    }

    override resetTransactionContext(): void {
      const control = this[CONTROL];
      if (control !== undefined) {
        this.setTransactionContext(control.context);
      } else if (
        this[ROOT] === undefined ||
        // In a flush inside of `not_supported` nothing begins anew where there was nothing.
        asKyselyTransaction(this.getTransactionContext())?.part.isShut === true
      ) {
        super.resetTransactionContext();
      }
    }

    override async begin(options: BeginOptions = {}): Promise<void> {
      const control = this[CONTROL];
      const isSavepoint = options.ctx !== undefined;
      if (!isSavepoint && (control ?? this[ROOT]) !== undefined) {
        assertNotNested(this, errorPlaceOf(this), 'begin');
      }
      await (control === undefined || isSavepoint
        ? super.begin(options)
        : control.begin(settingsOf(options)));
    }

    override async flush(): Promise<void> {
      const current = this.getContext(false);
      if (current !== this) {
        await current.flush();
        return;
      }
      const control = this[CONTROL];
      const isOfSession = control !== undefined || this[ROOT] !== undefined;
      if (
        isOfSession &&
        isPlain &&
        !flush.hasSubscribers &&
        !isFlushUnderWay(this) &&
        isFlushIdle(this, deletionHandlers)
      ) {
        return;
      }
      assertMayFlush(this);
      const context = isOfSession ? this.getTransactionContext() : undefined;
      const whole = asKyselyTransaction(context)?.part.whole;
      const isLimited = parts.flushCode.runsIn(this);
      // For a transaction of the flush itself MikroORM asks for a connection.
      const callsBack = isLimited || whole === undefined;
      const run = (): Promise<void> => flushInTurn(this, callsBack, () => super.flush());
      try {
        const flushed =
          control !== undefined && flush.hasSubscribers
            ? tracedFlush({ context: control.holder?.telemetry, connection: telemetry }, run)
            : run();
        // A subscriber can hang before the first statement (F6); statements have limits of their own.
        await (isLimited && whole !== undefined ? whole.limit(flushed) : flushed);
      } catch (error) {
        if (!isFlushing(this)) {
          // MikroORM forgets what it could not write (F4).
          if (control === undefined) {
            this[FLUSH_FAILURE] ??= { error };
          } else {
            control.flushFailed(error);
          }
        }
        throw error;
      }
    }

    override fork(options?: Parameters<EntityManager['fork']>[0]): this {
      const fork = super.fork(options);
      const origin = this[CONTROL] ?? this[ORIGIN];
      if (origin !== undefined) {
        fork[ORIGIN] = origin;
        if (sessionFork.hasSubscribers && hasWorkOfItsOwn(options)) {
          const context = origin.holder?.telemetry;
          sessionFork.publish(new ForkEvent({ context, connection: telemetry }, fork));
        }
      }
      return fork;
    }

    override async commit(): Promise<void> {
      await endTransaction(this, errorPlaceOf(this), 'commit', () => super.commit());
    }

    override async rollback(): Promise<void> {
      await endTransaction(this, errorPlaceOf(this), 'rollback', () => super.rollback());
    }

    override async transactional<T>(
      callback: (em: this) => T | Promise<T>,
      options: TransactionOptions = {},
    ): Promise<T> {
      const current = this.getContext(false);
      if (current !== this) {
        return current.transactional(callback, options);
      }
      const prepared = prepareNesting(this, this[CONTROL], options);
      if (prepared !== undefined) {
        await prepared;
      }
      const root: SessionManager = this[ROOT] ?? this;
      root[NESTED] = true;
      const nested = new NestedTransaction(root);
      /** The statements of a callback in no transaction. */
      let autocommit: Autocommit | undefined;
      const inner = async (fork: this): Promise<T> => {
        nested.fork = fork;
        // REQUIRED and its like run the callback on this very manager.
        if (fork === this) {
          return callback(fork);
        }
        fork[ROOT] = root;
        const handler = deletionHandlerOf(fork, this);
        if (handler !== undefined) {
          deletionHandlers.add(handler);
        }
        if (!fork.isInTransaction()) {
          autocommit = ownStatements(parts, fork, controlOf(root));
        }
        const result = await callback(fork);
        // Here, before MikroORM flushes into a transaction that has failed already.
        assertNotFailed(fork);
        return result;
      };
      try {
        // MikroORM writes into the options, which may be a constant of the application.
        const ownOptions = { ...options, ...outsideOf(this, options) };
        return await nested.enter(() => super.transactional(inner, ownOptions));
      } catch (error) {
        const { fork } = nested as { fork?: SessionManager };
        if (fork !== undefined && fork !== this) {
          keepOrphans(fork, this);
        }
        throw error;
      } finally {
        const { fork } = nested as { fork?: SessionManager };
        autocommit?.shut();
        if (fork !== undefined && fork !== this && !fork.isInTransaction()) {
          fork[OVER] = true;
        }
        const ended = nested.end();
        if (ended !== undefined) {
          await ended;
        }
        const hooks = root[CONTROL]?.nestedEnded();
        if (hooks !== undefined) {
          await hooks;
        }
      }
    }

    override isInTransaction(): boolean {
      const context: unknown = this.getTransactionContext();
      return context !== undefined && !isAutocommit(context);
    }

    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- MikroORM's signature
    override getConnection<C extends Connection>(type?: ConnectionType): C {
      const origin = this[CONTROL] ?? this[ORIGIN];
      // Called by a flush, for a transaction of its own: parallel branches are not part of that.
      const isWithin = isFlushing(this) ? (): boolean => isFlushing(this) : undefined;
      // A fork of the application is its own (W2); one that transactional() makes is the context's.
      const root = this[ROOT] ?? NestedTransaction.beingOpened()?.root;
      const owner = root && controlOf(root);
      return ownedConnection(super.getConnection(type), parts, { origin, owner, isWithin }) as C;
    }
  };
}
