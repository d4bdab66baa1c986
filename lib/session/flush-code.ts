import type { EntityManager, EntityMetadata, MetadataStorage } from '@mikro-orm/core';

/** What is known of the entities of an ORM; `MikroORM.discoverEntity()` adds some later. */
interface Known {
  readonly entities: ReadonlyMap<unknown, EntityMetadata>;
  readonly count: number;
  readonly haveHooks: boolean;
}

/**
 * The code of the application that the flushes of a connection call and wait for: subscribers, the lifecycle hooks of
 * entities, and `flush()` of an entity manager of its own.
 */
export class FlushCode {
  /** Whether `flush()` is MikroORM's own, and does no more than to write changes. */
  readonly isPlain: boolean;
  /** MikroORM's subscribers that tell the manager around a callback what its fork has deleted. */
  readonly deletionHandlers = new WeakSet<object>();
  #known: Known | undefined;

  /** @param isPlain see {@link FlushCode.isPlain} */
  constructor(isPlain: boolean) {
    this.isPlain = isPlain;
  }

  /** Whether a flush of an entity manager calls any. */
  runsIn(manager: EntityManager): boolean {
    for (const subscriber of manager.getEventManager().getSubscribers()) {
      if (!this.deletionHandlers.has(subscriber)) {
        return true;
      }
    }
    return !this.isPlain || this.#haveHooks(manager.getMetadata());
  }

  #haveHooks(metadata: MetadataStorage): boolean {
    const entities = metadata.getAll();
    if (this.#known?.entities !== entities || this.#known.count !== entities.size) {
      const haveHooks = [...entities.values()].some(hasHooks);
      this.#known = { entities, count: entities.size, haveHooks };
    }
    return this.#known.haveHooks;
  }
}

function hasHooks({ hooks }: EntityMetadata): boolean {
  return Object.values(hooks).some((ofEvent) => ofEvent !== undefined && ofEvent.length > 0);
}
