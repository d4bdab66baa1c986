import { inspect } from 'node:util';

import type {
  Dictionary,
  EntityManager,
  MikroORM,
  Transaction,
  TransactionOptions,
} from '@mikro-orm/core';

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
 * The entity manager that `@InjectSession()` injects: one object for the life of the application,
 * which stands for the session of the context that the calling code runs in. Every method of
 * MikroORM's EntityManager starts with `this.getContext()`, so answering that is all it takes.
 *
 * @param resolve finds, and creates where necessary, the session of the current context
 */
export function createSessionHandle(
  orm: MikroORM,
  connectionName: string,
  resolve: () => EntityManager,
): EntityManager {
  const Base = orm.em.constructor as EntityManagerClass;
  // MikroORM's constructor asks for the context already.
  let isConstructed = false;

  class SessionHandle extends Base {
    override getContext(validate?: boolean): this {
      return isConstructed ? (resolve().getContext(validate) as this) : this;
    }

    override async begin(options?: BeginOptions): Promise<void> {
      await this.getContext(false).begin(options);
    }

    override async commit(): Promise<void> {
      await this.getContext(false).commit();
    }

    override async rollback(): Promise<void> {
      await this.getContext(false).rollback();
    }

    override async flush(): Promise<void> {
      await this.getContext(false).flush();
    }

    override async transactional<T>(
      callback: (em: this) => T | Promise<T>,
      options?: TransactionOptions,
    ): Promise<T> {
      return this.getContext(false).transactional(callback, options);
    }

    // Its transactions begin with the settings of the session, and are part of its unit of work.
    override fork(options?: Parameters<EntityManager['fork']>[0]): this {
      return this.getContext(false).fork(options);
    }

    override isInTransaction(): boolean {
      return this.getContext(false).isInTransaction();
    }

    // What follows is what MikroORM does with private state of this very object, past getContext().

    override setTransactionContext(context?: Transaction): void {
      this.getContext(false).setTransactionContext(context);
    }

    override resetTransactionContext(): void {
      this.getContext(false).resetTransactionContext();
    }

    override getUnitOfWork(useContext?: boolean): ReturnType<EntityManager['getUnitOfWork']> {
      return isConstructed
        ? this.getContext(false).getUnitOfWork(useContext)
        : super.getUnitOfWork(useContext);
    }

    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- MikroORM's signature
    override getLoggerContext<T extends Dictionary = Dictionary>(
      options?: Parameters<EntityManager['getLoggerContext']>[0],
    ): T {
      return this.getContext(false).getLoggerContext<T>(options);
    }

    override applyFilters(...args: AnyArguments): Promise<never> {
      return forward(this.getContext(false), 'applyFilters', args);
    }

    override merge(...args: AnyArguments): never {
      return forward(this.getContext(false), 'merge', args);
    }

    override create(...args: AnyArguments): never {
      return forward(this.getContext(false), 'create', args);
    }

    // Printing a service must not ask for a context.
    [inspect.custom](): string {
      return `[Session<${connectionName}>]`;
    }
  }

  const handle = new SessionHandle(
    orm.config,
    orm.driver,
    orm.getMetadata(),
    true,
    orm.em.getEventManager(),
  );
  isConstructed = true;
  return handle;
}
