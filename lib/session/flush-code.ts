import type { EntityManager, EntityMetadata, MetadataStorage } from '@mikro-orm/core';

/** What is known of the entities of an ORM; `MikroORM.discoverEntity()` adds some later. */
interface Known {
  readonly entities: ReadonlyMap<unknown, EntityMetadata>;
  readonly count: number;
  readonly haveHooks: boolean;
}

/**
 * Finds whether a flush calls code of the application that it waits for: subscribers, and the lifecycle hooks of
 * entities.
 *
 * @param isPlain whether `flush()` itself is MikroORM's own
 * @param deletionHandlers subscribers that are not the application's
 */
export function flushCodeFinder(
  isPlain: boolean,
  deletionHandlers: { has(subscriber: object): boolean },
): (manager: EntityManager) => boolean {
  let known: Known | undefined;
  const haveHooks = (metadata: MetadataStorage): boolean => {
    const entities = metadata.getAll();
    if (known?.entities !== entities || known.count !== entities.size) {
      known = { entities, count: entities.size, haveHooks: [...entities.values()].some(hasHooks) };
    }
    return known.haveHooks;
  };
  return (manager) => {
    for (const subscriber of manager.getEventManager().getSubscribers()) {
      if (!deletionHandlers.has(subscriber)) {
        return true;
      }
    }
    return !isPlain || haveHooks(manager.getMetadata());
  };
}

function hasHooks({ hooks }: EntityMetadata): boolean {
  return Object.values(hooks).some((ofEvent) => ofEvent !== undefined && ofEvent.length > 0);
}
