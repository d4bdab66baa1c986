import type { Dictionary, EntityManager, Transaction, TransactionOptions } from '@mikro-orm/core';

import type { BeginOptions, EntityManagerClass } from './session-manager.js';

/** Of methods whose overloads would have to be said again; their callers see MikroORM's own types. */
type AnyArguments = readonly never[];

function forward(
  manager: EntityManager,
  method: 'applyFilters' | 'merge' | 'create',
  args: AnyArguments,
): never {
  return Reflect.apply(manager[method], manager, args) as never;
}

/**
 * The class of an entity manager that stands for another one. Every method of MikroORM's EntityManager
 * starts with `this.getContext()`, so answering that is nearly all it takes; the others are those that
 * work on private state of the very object that they are called on.
 *
 * @param find the manager that is stood for; `undefined` where the object is to be itself
 */
export function standInClass(
  Base: EntityManagerClass,
  find: () => EntityManager | undefined,
): EntityManagerClass {
  /** The manager that a method belongs to, unless it is the object itself. */
  const other = <T extends EntityManager>(self: T): T | undefined => {
    const found = find();
    const current = found === undefined || found === self ? undefined : found.getContext(false);
    return current === self ? undefined : (current as T | undefined);
  };

  return class StandIn extends Base {
    override getContext(validate?: boolean): this {
      const found = find();
      if (found === undefined) {
        return super.getContext(validate);
      }
      return (found === this ? this : found.getContext(validate)) as this;
    }

    override async begin(options?: BeginOptions): Promise<void> {
      const current = other(this);
      await (current === undefined ? super.begin(options) : current.begin(options));
    }

    override async commit(): Promise<void> {
      const current = other(this);
      await (current === undefined ? super.commit() : current.commit());
    }

    override async rollback(): Promise<void> {
      const current = other(this);
      await (current === undefined ? super.rollback() : current.rollback());
    }

    override async flush(): Promise<void> {
      const current = other(this);
      await (current === undefined ? super.flush() : current.flush());
    }

    override async transactional<T>(
      callback: (em: this) => T | Promise<T>,
      options?: TransactionOptions,
    ): Promise<T> {
      const current = other(this);
      return current === undefined
        ? super.transactional(callback, options)
        : current.transactional(callback, options);
    }

    // Its transactions begin with the settings of the session, and are part of its unit of work.
    override fork(options?: Parameters<EntityManager['fork']>[0]): this {
      const current = other(this);
      return current === undefined ? super.fork(options) : current.fork(options);
    }

    override isInTransaction(): boolean {
      const current = other(this);
      return current === undefined ? super.isInTransaction() : current.isInTransaction();
    }

    override setTransactionContext(context?: Transaction): void {
      const current = other(this);
      if (current === undefined) {
        super.setTransactionContext(context);
      } else {
        current.setTransactionContext(context);
      }
    }

    override resetTransactionContext(): void {
      const current = other(this);
      if (current === undefined) {
        super.resetTransactionContext();
      } else {
        current.resetTransactionContext();
      }
    }

    override getUnitOfWork(useContext?: boolean): ReturnType<EntityManager['getUnitOfWork']> {
      const current = other(this);
      return current === undefined
        ? super.getUnitOfWork(useContext)
        : current.getUnitOfWork(useContext);
    }

    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- MikroORM's signature
    override getLoggerContext<T extends Dictionary = Dictionary>(
      options?: Parameters<EntityManager['getLoggerContext']>[0],
    ): T {
      const current = other(this);
      return current === undefined
        ? super.getLoggerContext<T>(options)
        : current.getLoggerContext<T>(options);
    }

    override applyFilters(...args: AnyArguments): Promise<never> {
      const current = other(this);
      return current === undefined
        ? (super.applyFilters(
            ...(args as unknown as Parameters<EntityManager['applyFilters']>),
          ) as Promise<never>)
        : forward(current, 'applyFilters', args);
    }

    override merge(...args: AnyArguments): never {
      const current = other(this);
      return current === undefined
        ? (super.merge(...(args as unknown as Parameters<EntityManager['merge']>)) as never)
        : forward(current, 'merge', args);
    }

    override create(...args: AnyArguments): never {
      const current = other(this);
      return current === undefined
        ? (super.create(...(args as unknown as Parameters<EntityManager['create']>)) as never)
        : forward(current, 'create', args);
    }
  };
}
