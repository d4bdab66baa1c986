import type {
  Connection,
  ConnectionType,
  EntityManager,
  Transaction,
  TransactionOptions,
} from '@mikro-orm/core';
import { TransactionPropagation, TransactionStateError } from '@mikro-orm/core';

import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
} from '../errors.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import type { Failure } from '../transaction/transaction-state.js';
import { flushInTurn, isFlushing } from './flush-turns.js';
import { Autocommit } from './autocommit.js';
import type { KyselyClient } from './kysely-shapes.js';
import {
  asKyselyTransaction,
  isAutocommit,
  kyselyAutocommit,
  type KyselyTransaction,
} from './kysely-transaction.js';
import { settingsOf } from './mikro-orm-settings.js';
import { NestedTransaction } from './nested-transaction.js';
import type { TransactionParts } from './orm-transaction.js';
import { ownedConnection, type TransactionOrigin, type WorkOwner } from './owned-connection.js';
import { assertMayFlush, hasChanges } from './changes.js';
import type { SessionWatch } from './session-watch.js';

/** The session behind an entity manager. */
export interface SessionControl extends TransactionOrigin, WorkOwner {
  readonly watch: SessionWatch | undefined;
  /** The current transaction context; a new one after each commit and rollback. */
  readonly context: KyselyTransaction;
  begin(settings: TransactionSettings): Promise<void>;
  demand(settings: TransactionSettings): void;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** A flush has failed, and MikroORM forgets what it could not write. */
  flushFailed(error: unknown): void;
}

/** What `em.begin()` takes. */
export type BeginOptions = Omit<TransactionOptions, 'ignoreNestedTransactions'>;

/** The EntityManager class of a driver, or the application's own one. */
export type EntityManagerClass = new (
  ...args: ConstructorParameters<typeof EntityManager>
) => EntityManager;

const CONTROL = Symbol('nestjs-db-context:session-control');
const ROOT = Symbol('nestjs-db-context:session-root');
const ORIGIN = Symbol('nestjs-db-context:session-origin');
const NESTED = Symbol('nestjs-db-context:session-nested');
const OVER = Symbol('nestjs-db-context:session-over');
const FLUSH_FAILURE = Symbol('nestjs-db-context:session-flush-failure');

/** An entity manager of the class that {@link sessionManagerClass} makes. */
interface SessionManager extends EntityManager {
  /** The session that this is the entity manager of. */
  [CONTROL]?: SessionControl;
  /** The manager that the outermost `transactional()` was called on, for the fork of a callback. */
  [ROOT]?: EntityManager;
  /** The session that this is a fork of. */
  [ORIGIN]?: TransactionOrigin;
  /** Whether `transactional()` was ever called on it. */
  [NESTED]?: boolean;
  /** Whether the callback that it was made for, of `not_supported`, has returned. */
  [OVER]?: boolean;
  /** The first flush of it that failed. */
  [FLUSH_FAILURE]?: Failure;
}

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
 * any fork; only its transactions begin with the settings of the session, and end with its unit of
 * work (W3).
 */
export function sessionManagerClass(
  Base: EntityManagerClass,
  parts: TransactionParts,
): EntityManagerClass {
  const connectionName = parts.connection.name;

  return class extends Base implements SessionManager {
    declare [CONTROL]?: SessionControl;
    declare [ROOT]?: EntityManager;
    declare [ORIGIN]?: TransactionOrigin;
    declare [NESTED]?: boolean;
    declare [OVER]?: boolean;
    declare [FLUSH_FAILURE]?: Failure;

    override getContext(validate?: boolean): this {
      if (this[OVER] === true) {
        // No transaction that has ended refuses what the callback left behind.
        throw new SessionClosedError(connectionName);
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
        assertNotNested(this, connectionName, 'begin');
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
      assertMayFlush(this);
      const control = this[CONTROL];
      const isOfSession = control !== undefined || this[ROOT] !== undefined;
      const context = isOfSession ? this.getTransactionContext() : undefined;
      const whole = asKyselyTransaction(context)?.part.whole;
      control?.watch?.flushBegins();
      try {
        const flushed = flushInTurn(this, () => super.flush());
        // A subscriber can hang before the first statement (F6).
        await (whole?.limit(flushed) ?? flushed);
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
      } finally {
        control?.watch?.flushEnds();
      }
    }

    override fork(options?: Parameters<EntityManager['fork']>[0]): this {
      const fork = super.fork(options);
      const origin = this[CONTROL] ?? this[ORIGIN];
      if (origin !== undefined) {
        fork[ORIGIN] = origin;
      }
      return fork;
    }

    override async commit(): Promise<void> {
      await endTransaction(this, connectionName, 'commit', () => super.commit());
    }

    override async rollback(): Promise<void> {
      await endTransaction(this, connectionName, 'rollback', () => super.rollback());
    }

    override async transactional<T>(
      callback: (em: this) => T | Promise<T>,
      options: TransactionOptions = {},
    ): Promise<T> {
      const current = this.getContext(false);
      if (current !== this) {
        return current.transactional(callback, options);
      }
      await prepareNesting(this, this[CONTROL], options);
      const root: SessionManager = this[ROOT] ?? this;
      root[NESTED] = true;
      return NestedTransaction.of(root, async (nested) => {
        /** The statements of a callback in no transaction. */
        let autocommit: Autocommit | undefined;
        const inner = async (fork: this): Promise<T> => {
          nested.fork = fork;
          // REQUIRED and its like run the callback on this very manager.
          if (fork === this) {
            return callback(fork);
          }
          fork[ROOT] = root;
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
          return await super.transactional(inner, { ...options, ...outsideOf(this, options) });
        } finally {
          const { fork } = nested as { fork?: SessionManager };
          autocommit?.shut();
          if (fork !== undefined && fork !== this && !fork.isInTransaction()) {
            fork[OVER] = true;
          }
        }
      });
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

/** The propagation that comes to the same, where MikroORM takes `not_supported` for a transaction. */
function outsideOf(
  manager: EntityManager,
  { propagation }: TransactionOptions,
): Pick<TransactionOptions, 'propagation'> {
  if (!isAutocommit(manager.getTransactionContext())) {
    return {};
  }
  switch (propagation) {
    case TransactionPropagation.REQUIRED:
      return { propagation: TransactionPropagation.NESTED };
    case TransactionPropagation.SUPPORTS:
    case TransactionPropagation.NEVER:
      return { propagation: TransactionPropagation.NOT_SUPPORTED };
    case TransactionPropagation.MANDATORY:
      throw TransactionStateError.requiredTransactionNotFound(propagation);
    default:
      return {};
  }
}

/** Makes the statements of a fork in no transaction part of the unit of work of a session (W3). */
function ownStatements(
  { connection }: TransactionParts,
  fork: SessionManager,
  control: SessionControl | undefined,
): Autocommit | undefined {
  // With a context of row-level security MikroORM wraps each statement in a transaction.
  if (control === undefined || fork.getTransactionSessionContext() !== undefined) {
    return undefined;
  }
  const autocommit = new Autocommit(connection, control.holder);
  control.own(autocommit);
  fork.setTransactionContext(kyselyAutocommit(connection.getKysely() as KyselyClient, autocommit));
  return autocommit;
}

/** @param endByMikroOrm MikroORM's own way, for what is not the transaction of a session */
async function endTransaction(
  manager: SessionManager,
  connectionName: string,
  verb: 'commit' | 'rollback',
  endByMikroOrm: () => Promise<void>,
): Promise<void> {
  const control = manager[CONTROL];
  assertNotNested(manager, connectionName, verb);
  const context = asKyselyTransaction(manager.getTransactionContext());
  if (control === undefined) {
    await endByMikroOrm();
  } else if (context?.parent === undefined) {
    await control[verb]();
  } else {
    // A savepoint of begin({ ctx }): MikroORM ends it, and leaves no context behind.
    await endByMikroOrm();
    manager.setTransactionContext(context.parent);
  }
}

async function prepareNesting(
  manager: EntityManager,
  control: SessionControl | undefined,
  { isolationLevel, readOnly, propagation }: TransactionOptions,
): Promise<void> {
  const isNested = propagation === undefined || propagation === TransactionPropagation.NESTED;
  // Isolation level and access mode can only be had from a BEGIN, and a savepoint is none.
  const isJoined = isNested || propagation === TransactionPropagation.REQUIRED;
  if (control !== undefined && isJoined && (isolationLevel !== undefined || readOnly === true)) {
    control.demand(settingsOf({ isolationLevel, readOnly }));
  }
  // Changes from before would be written inside of the savepoint, and be lost with it.
  const isInTransaction = asKyselyTransaction(manager.getTransactionContext()) !== undefined;
  // Inside of a flush hook there is nothing to do: the changes are being written already.
  if (isNested && isInTransaction && !isFlushing(manager) && hasChanges(manager)) {
    await manager.flush();
  }
}

/** @throws {@link UnexpectedRollbackError} a statement or a flush has failed, and its error was swallowed */
function assertNotFailed(manager: EntityManager): void {
  const part = asKyselyTransaction(manager.getTransactionContext())?.part;
  const blocker = part?.isShut === false ? part.whole.commitBlocker : undefined;
  if (blocker !== undefined) {
    throw blocker;
  }
  const flushFailure = (manager as SessionManager)[FLUSH_FAILURE];
  if (part !== undefined && flushFailure !== undefined) {
    throw new UnexpectedRollbackError(part.connectionName, 'failed-flush', flushFailure.error);
  }
}

/** MikroORM itself ends the transaction of a callback; a second end would be one too many. */
function assertNotNested(manager: SessionManager, connectionName: string, verb: string): void {
  if (manager.getContext(false) !== manager || manager[ROOT] !== undefined) {
    throw new InvalidTransactionStateError(
      connectionName,
      `${verb}() was called inside em.transactional(). Return from its callback to keep the work, ` +
        'or throw to undo it.',
    );
  }
}

/**
 * The manager of the innermost `transactional()` that the calling code runs in, where MikroORM names
 * `manager`: its `TransactionContext` does not know the fork of `not_supported`.
 */
export function innermostManager(manager: EntityManager): EntityManager {
  const root = (manager as SessionManager)[ROOT];
  return (root && NestedTransaction.forkOf(root)) ?? manager;
}

/** The session that an entity manager is the manager of. */
export function controlOf(manager: EntityManager): SessionControl | undefined {
  return (manager as SessionManager)[CONTROL];
}

/** Makes a manager of that class the entity manager of a session. */
export function bindControl(manager: EntityManager, control: SessionControl): void {
  (manager as SessionManager)[CONTROL] = control;
  manager.setTransactionContext(control.context);
}
