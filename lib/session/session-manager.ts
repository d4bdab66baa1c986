import {
  ReferenceKind,
  TransactionPropagation,
  ValidationError,
  type Connection,
  type ConnectionType,
  type EntityManager,
  type Transaction,
  type TransactionOptions,
} from '@mikro-orm/core';

import type { Holder } from '../connection/pool-claims.js';
import {
  InvalidTransactionStateError,
  ReadOnlyTransactionError,
  SessionClosedError,
} from '../errors.js';
import type { TransactionSettings } from '../transaction-settings.js';
import { flushInTurn, isFlushing } from './flush-turns.js';
import type { TransactionParts } from './lazy-transaction.js';
import { Autocommit } from './autocommit.js';
import type { ContextPart } from './context-part.js';
import type { LeaseWatch } from './lease-watch.js';
import { leasedConnection } from './leased-connection.js';
import { settingsOf } from './mikro-orm-settings.js';
import { innermostFork, runNested, sessionBeingNested } from './nesting.js';
import {
  asScopeContext,
  isAutocommit,
  type AutocommitContextFactory,
  type ScopeContext,
} from './transaction-context.js';

/** The lazy transaction of a session, as its entity manager sees it. */
export interface SessionControl {
  /** The current transaction context; armed anew after each commit and rollback. */
  readonly context: ScopeContext;
  /** Of all transactions of the session. */
  readonly settings: TransactionSettings;
  /** The unit of work that it is part of. */
  readonly holder: Holder | undefined;
  readonly watch: LeaseWatch | undefined;
  begin(settings: TransactionSettings): Promise<void>;
  demand(settings: TransactionSettings): void;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /**
   * Makes something a part of the context of the session, until the function that it returns is
   * called.
   *
   * @throws {@link SessionClosedError} that has ended
   */
  own(part: ContextPart): () => void;
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

/**
 * The entity manager class of a session: MikroORM's own, with what a lazy transaction needs.
 *
 * - `commit()` and `rollback()` end the lazy transaction and arm the next one (C1).
 * - The transaction context is never taken away: without it the next statement would run in
 *   autocommit on another connection (L3).
 * - Inside `em.transactional()` the session is the fork that MikroORM made for the callback.
 *
 * A fork of a session (`em.fork()`) is of this class too, but has no session behind it and
 * behaves as any fork; only its transactions begin with the settings of the session.
 */
export function sessionManagerClass(
  Base: EntityManagerClass,
  parts: TransactionParts,
  createAutocommitContext: AutocommitContextFactory,
): EntityManagerClass {
  /**
   * Makes the statements of a fork that is in no transaction, that of `not_supported`, a part of the
   * context of the session.
   *
   * @returns ends that
   */
  function ownStatements(fork: EntityManager, control: SessionControl): () => void {
    const autocommit = new Autocommit(parts.connection, control.holder);
    const disown = control.own(autocommit);
    // With a context of row-level security MikroORM wraps each statement in a transaction.
    if (fork.getTransactionSessionContext() === undefined) {
      fork.setTransactionContext(createAutocommitContext(autocommit));
    }
    return () => {
      autocommit.shut();
      disown();
    };
  }

  // No private members: `adopt()` makes forks instances of this class without its constructor.
  return class SessionManager extends Base {
    declare [CONTROL]?: SessionControl;
    declare [ROOT]?: EntityManager;
    declare [ORIGIN]?: SessionControl;
    /** Whether `transactional()` was ever called on it. */
    declare [NESTED]?: boolean;
    /** Whether the callback that it was made for, of `not_supported`, has returned. */
    declare [OVER]?: boolean;

    override getContext(validate?: boolean): this {
      if (this[OVER] === true) {
        // No transaction that has ended refuses what the callback left behind.
        throw new SessionClosedError(parts.connection.name);
      }
      if (this[CONTROL] === undefined) {
        return super.getContext(validate);
      }
      // MikroORM asks many times in each of its methods.
      return this[NESTED] === true ? ((innermostFork(this) as this | undefined) ?? this) : this;
    }

    override setTransactionContext(context?: Transaction): void {
      const control = this[CONTROL];
      if (control !== undefined && (innermostFork(this) ?? this) !== this) {
        // MikroORM would write it into that fork: it puts back what `requires_new` had suspended.
        return;
      }
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
        this.setTransactionContext(control.context);
      } else if (
        this[ROOT] === undefined ||
        // Of a flush inside of `not_supported`: nothing begins anew where there was nothing.
        asScopeContext(this.getTransactionContext())?.scope.isShut === true
      ) {
        super.resetTransactionContext();
      }
    }

    override isInTransaction(): boolean {
      const context: unknown = this.getTransactionContext();
      return context !== undefined && !isAutocommit(context);
    }

    override async begin(options: BeginOptions = {}): Promise<void> {
      const control = this[CONTROL];
      const isSavepoint = options.ctx !== undefined;
      if (!isSavepoint && (control ?? this[ROOT]) !== undefined) {
        assertNotNested(this, parts.connection.name, 'begin');
      }
      if (control === undefined || isSavepoint) {
        await super.begin(options);
      } else {
        await control.begin(settingsOf(options));
      }
    }

    override async flush(): Promise<void> {
      const current = this.getContext(false);
      if (current !== this) {
        await current.flush();
        return;
      }
      assertMayFlush(this);
      const watch = this[CONTROL]?.watch;
      watch?.flushBegins();
      await flushInTurn(this, () => super.flush()).finally(() => watch?.flushEnds());
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
      await endTransaction(this, parts.connection.name, 'commit', () => super.commit());
    }

    override async rollback(): Promise<void> {
      await endTransaction(this, parts.connection.name, 'rollback', () => super.rollback());
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
      const root: EntityManager & { [NESTED]?: boolean } = this[ROOT] ?? this;
      root[NESTED] = true;
      return runNested(root, async (nesting) => {
        /** Whether the callback runs in no transaction. */
        let isOutside = false;
        let disown: (() => void) | undefined;
        const work = super.transactional(
          async (fork) => {
            nesting.fork = fork;
            // REQUIRED and its like run the callback on this very manager.
            if (fork === this) {
              return callback(fork);
            }
            fork[ROOT] = root;
            const control = controlOf(root);
            isOutside = !fork.isInTransaction();
            if (isOutside && control !== undefined) {
              disown = ownStatements(fork, control);
            }
            const result = await callback(fork);
            // Here, before MikroORM flushes into a transaction that has failed already.
            asScopeContext(fork.getTransactionContext())?.scope.assertNotFailed();
            return result;
          },
          // MikroORM writes into the options, which may be a constant of the application.
          { ...options },
        );
        try {
          return await work;
        } finally {
          disown?.();
          if (isOutside) {
            (nesting as { fork?: SessionManager }).fork![OVER] = true;
          }
        }
      });
    }

    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- MikroORM's signature
    override getConnection<C extends Connection>(type?: ConnectionType): C {
      const origin = this[CONTROL] ?? this[ORIGIN];
      // A fork of the application's own is not the context's; one of transactional() is.
      const own = (part: ContextPart): (() => void) | undefined => {
        const session = this[ROOT] ?? sessionBeingNested();
        return session && controlOf(session)?.own(part);
      };
      // Called by a flush, for a transaction of its own: parallel branches are not part of that.
      const isWithin = isFlushing(this) ? (): boolean => isFlushing(this) : undefined;
      return leasedConnection(super.getConnection(type), parts, origin, own, isWithin) as C;
    }
  };
}

/** @param endByMikroOrm MikroORM's own way, for what is not the transaction of a session */
async function endTransaction(
  manager: EntityManager & { [CONTROL]?: SessionControl },
  connectionName: string,
  verb: 'commit' | 'rollback',
  endByMikroOrm: () => Promise<void>,
): Promise<void> {
  const control = manager[CONTROL];
  assertNotNested(manager, connectionName, verb);
  const context = asScopeContext(manager.getTransactionContext());
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
  if (isNested && asScopeContext(manager.getTransactionContext()) !== undefined) {
    await flushUnlessFlushing(manager);
  }
}

/**
 * Looks before MikroORM does: an entity that was changed shows only in what a flush computes. A hook
 * may still add changes; those are for the server to refuse (25006).
 *
 * @throws {@link ReadOnlyTransactionError}
 */
function assertMayFlush(manager: EntityManager): void {
  const scope = asScopeContext(manager.getTransactionContext())?.scope;
  if (scope?.lease.isReadOnly !== true) {
    return;
  }
  const uow = manager.getUnitOfWork(false);
  uow.computeChangeSets();
  const changed = [
    ...uow.getChangeSets().map((changeSet) => changeSet.meta.className),
    // Of the others the changed side is an entity, and among the above.
    ...uow
      .getCollectionUpdates()
      .filter(({ property }) => property.kind === ReferenceKind.MANY_TO_MANY)
      .map(({ owner }) => owner.constructor.name),
    ...[...uow.getExtraUpdates()].map(([entity]) => entity.constructor.name),
  ];
  if (changed.length > 0) {
    throw new ReadOnlyTransactionError(scope.connectionName, [...new Set(changed)]);
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
  connectionName: string,
  verb: string,
): void {
  const isInside = manager.getContext(false) !== manager || manager[ROOT] !== undefined;
  if (isInside) {
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
