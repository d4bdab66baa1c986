import {
  TransactionPropagation,
  ValidationError,
  type Connection,
  type ConnectionType,
  type EntityManager,
  type Transaction,
  type TransactionOptions,
} from '@mikro-orm/core';

import { InvalidTransactionStateError } from '../errors.js';
import type { BeginSettings } from './begin-sql.js';
import type { TransactionParts } from './lazy-transaction.js';
import { leasedConnection } from './leased-connection.js';
import { innermostFork, runNested } from './nesting.js';
import { asScopeContext, type ScopeContext } from './transaction-context.js';

/** The lazy transaction of a session, as its entity manager sees it. */
export interface SessionControl {
  readonly connectionName: string;
  /** The current transaction context; armed anew after each commit and rollback. */
  readonly context: ScopeContext;
  begin(settings: BeginSettings): Promise<void>;
  demand(settings: BeginSettings): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** What `em.begin()` takes. */
export type BeginOptions = Omit<TransactionOptions, 'ignoreNestedTransactions'>;

/** The EntityManager class of a driver, or the application's own one. */
export type EntityManagerClass = new (
  ...args: ConstructorParameters<typeof EntityManager>
) => EntityManager;

const CONTROL = Symbol('nestjs-db-context:session-control');
const ROOT = Symbol('nestjs-db-context:session-root');

/**
 * The entity manager class of a session: MikroORM's own, with what a lazy transaction needs.
 *
 * - `commit()` and `rollback()` end the lazy transaction and arm the next one (C1).
 * - The transaction context is never taken away: without it the next statement would run in
 *   autocommit on another connection (L3).
 * - Inside `em.transactional()` the session is the fork that MikroORM made for the callback.
 *
 * A fork of a session (`em.fork()`) is of this class too, but has no session behind it and
 * behaves as any fork.
 */
export function sessionManagerClass(
  Base: EntityManagerClass,
  parts: TransactionParts,
): EntityManagerClass {
  // No private members: `adopt()` makes forks instances of this class without its constructor.
  return class SessionManager extends Base {
    declare [CONTROL]?: SessionControl;
    declare [ROOT]?: EntityManager;

    override getContext(validate?: boolean): this {
      return this[CONTROL] === undefined
        ? super.getContext(validate)
        : ((innermostFork(this) as this | undefined) ?? this);
    }

    override setTransactionContext(context?: Transaction): void {
      const control = this[CONTROL];
      if (control === undefined || asScopeContext(context)?.scope.isShut === false) {
        super.setTransactionContext(context);
      } else {
        // MikroORM puts back the context that a flush began with; meanwhile it may have ended.
        super.setTransactionContext(control.context);
      }
    }

    override resetTransactionContext(): void {
      const control = this[CONTROL];
      if (control !== undefined) {
        super.setTransactionContext(control.context);
      } else if (this[ROOT] === undefined) {
        super.resetTransactionContext();
      }
    }

    override async begin(options: BeginOptions = {}): Promise<void> {
      const control = this[CONTROL];
      if (control === undefined || options.ctx !== undefined) {
        await super.begin(options);
        return;
      }
      assertNotNested(this, control.connectionName, 'begin');
      await control.begin(options);
    }

    override async commit(): Promise<void> {
      const control = this[CONTROL];
      const context = asScopeContext(this.getTransactionContext());
      assertNotNested(this, context?.scope.connectionName, 'commit');
      if (control === undefined) {
        await super.commit();
      } else if (context?.parent === undefined) {
        await control.commit();
      } else {
        // A savepoint of begin({ ctx }): MikroORM releases it, and leaves no context behind.
        await super.commit();
        super.setTransactionContext(context.parent);
      }
    }

    override async rollback(): Promise<void> {
      const control = this[CONTROL];
      const context = asScopeContext(this.getTransactionContext());
      assertNotNested(this, context?.scope.connectionName, 'rollback');
      if (control === undefined) {
        await super.rollback();
      } else if (context?.parent === undefined) {
        await control.rollback();
      } else {
        await super.rollback();
        super.setTransactionContext(context.parent);
      }
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
      const root = this[ROOT] ?? this;
      return runNested(root, (nesting) =>
        super.transactional(
          (fork) => {
            nesting.fork = fork;
            // REQUIRED and its like run the callback on this very manager.
            if (fork !== this) {
              fork[ROOT] = root;
            }
            return callback(fork);
          },
          // MikroORM writes into the options, which may be a constant of the application.
          { ...options },
        ),
      );
    }

    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- MikroORM's signature
    override getConnection<C extends Connection>(type?: ConnectionType): C {
      return leasedConnection(super.getConnection(type), parts) as C;
    }
  };
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
    await control.demand({
      ...(isolationLevel !== undefined && { isolationLevel }),
      ...(readOnly !== undefined && { readOnly }),
    });
  }
  // Changes from before would be written inside of the savepoint, and be lost with it.
  if (isNested && asScopeContext(manager.getTransactionContext()) !== undefined) {
    await flushUnlessFlushing(manager);
  }
}

/** Inside a flush hook there is nothing to do: the changes are being written already. */
async function flushUnlessFlushing(manager: EntityManager): Promise<void> {
  try {
    await manager.flush();
  } catch (error) {
    if ((error as Error).message !== ValidationError.cannotCommit().message) {
      throw error;
    }
  }
}

/** MikroORM itself ends the transaction of a callback; a second end would be one too many. */
function assertNotNested(
  manager: EntityManager & { [ROOT]?: EntityManager },
  connectionName: string | undefined,
  verb: string,
): void {
  const isInside = manager.getContext(false) !== manager || manager[ROOT] !== undefined;
  if (isInside && connectionName !== undefined) {
    throw new InvalidTransactionStateError(
      connectionName,
      `${verb}() was called inside em.transactional(). Return from its callback to keep the work, ` +
        'or throw to undo it.',
    );
  }
}

/** The control of an entity manager that is a session. */
export function controlOf(manager: EntityManager): SessionControl | undefined {
  return (manager as { [CONTROL]?: SessionControl })[CONTROL];
}

/**
 * Turns a fresh fork into the entity manager of a session. The fork comes from MikroORM, so that
 * it has the filters, the schema and the logger context of the global manager; only its class is
 * exchanged.
 */
export function adopt<E extends EntityManager>(
  fork: E,
  SessionManager: EntityManagerClass,
  control: SessionControl,
): E {
  Object.setPrototypeOf(fork, SessionManager.prototype as object);
  Object.defineProperty(fork, CONTROL, { value: control });
  fork.setTransactionContext(control.context);
  return fork;
}
