import type { EntityManager } from '@mikro-orm/core';

import type { EntityManagerClass } from './session-manager.js';

/**
 * A fork that has the filters, the schema and the logger context of an entity manager, and is of another
 * class: MikroORM forks by `new this.constructor()`. A fork whose prototype is exchanged afterwards costs
 * more than all else in a session, and makes MikroORM's own calls on it slower.
 * `test/e2e/mikro-orm-surface.spec.ts` fails when an upgrade forks in another way.
 *
 * @param em what is forked, whatever the context of the calling code
 * @param Base MikroORM's class, whose `fork()` knows of no session
 */
export function forkOfClass(
  em: EntityManager,
  { Base, Manager }: { readonly Base: EntityManagerClass; readonly Manager: EntityManagerClass },
  options: Parameters<EntityManager['fork']>[0] = {},
): EntityManager {
  const target = em as { constructor: unknown };
  const former = target.constructor;
  if (!Object.hasOwn(em, 'constructor')) {
    Object.defineProperty(em, 'constructor', { value: former, writable: true, configurable: true });
  }
  target.constructor = Manager;
  try {
    return Base.prototype.fork.call(em, { ...options, disableContextResolution: true });
  } finally {
    target.constructor = former;
  }
}
