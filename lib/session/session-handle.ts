import { inspect } from 'node:util';

import type { EntityManager, MikroORM } from '@mikro-orm/core';

import type { EntityManagerClass } from './session-manager.js';
import { standInClass } from './stand-in.js';

/**
 * The entity manager that `@InjectSession()` injects: one object for the life of the application,
 * which stands for the session of the context that the calling code runs in.
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

  class SessionHandle extends standInClass(Base, () => (isConstructed ? resolve() : undefined)) {
    // While it is constructed it has no context, also not one of MikroORM's that is around.
    override getContext(validate?: boolean): this {
      return isConstructed ? super.getContext(validate) : this;
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
