import { MikroORM } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';

import type { DatabaseOptions } from './stand-options.js';
import type { Part, Stand } from './stand.js';

/** `em.transactional()`, whose manager is handed on. */
export async function openHandWritten(databases: readonly DatabaseOptions[]): Promise<Stand> {
  const orms = await Promise.all(
    databases.map(({ name, options }) => MikroORM.init({ ...options, contextName: name })),
  );
  // MikroORM.init() does not know the driver's own manager.
  const managers = orms.map(({ em }) => em as unknown as EntityManager);
  const first = managers[0]!;

  /** The transactions end from the inside to the outside, each with a COMMIT of its own. */
  async function nest(
    index: number,
    count: number,
    part: (em: EntityManager, index: number) => Promise<void>,
  ): Promise<void> {
    await managers[index]!.transactional(async (em) => {
      await part(em, index);
      if (index + 1 < count) {
        await nest(index + 1, count, part);
      }
    });
  }

  return {
    side: 'hand-written',
    accounts: databases.map(({ account }) => account),
    injected: undefined,
    run: <T>(part: Part<T>) => first.transactional(part),
    runOnEach: (count, part) => nest(0, count, part),
    hold: async (over) => {
      const fork = first.fork();
      await over;
      // Used at the end, too, or V8 would free the fork meanwhile.
      fork.isInTransaction();
    },
    close: async () => {
      await Promise.all(orms.map((orm) => orm.close()));
    },
  };
}
