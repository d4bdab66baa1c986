import { inspect } from 'node:util';

import type { EntityManager, MikroORM, TransactionOptions } from '@mikro-orm/core';

import type { BeginOptions, EntityManagerClass } from './session-manager.js';

/**
 * The entity manager that `@InjectSession()` injects: one object for the life of the application,
 * which stands for the session of whatever context the calling code runs in. Every method of
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
