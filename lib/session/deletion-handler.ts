import type { EntityManager, EventSubscriber } from '@mikro-orm/core';

/**
 * The subscriber by which MikroORM tells the manager around a callback of `transactional()` what its fork has
 * deleted. MikroORM registers it last, right before it calls the callback.
 *
 * @returns `undefined` where the last one is none of MikroORM's
 */
export function deletionHandlerOf(
  fork: EntityManager,
  around: EntityManager,
): EventSubscriber | undefined {
  let last: EventSubscriber | undefined;
  for (const subscriber of fork.getEventManager().getSubscribers()) {
    last = subscriber;
  }
  const isMikroOrms =
    last !== undefined &&
    !around.getEventManager().getSubscribers().has(last) &&
    Object.getPrototypeOf(last) === Object.prototype &&
    Object.keys(last).join() === 'afterFlush';
  return isMikroOrms ? last : undefined;
}
