import type { EntityManager } from '@mikro-orm/postgresql';
import type { DbContext } from 'nestjs-db-context';

import { Note } from './note.entity.js';
import { startWorld, type TestWorld } from './test-world.js';

/** A world that the tests of a `describe` share, empty before each of them. */
export interface SharedWorld {
  readonly world: TestWorld;
  readonly session: EntityManager;
  readonly dbContext: DbContext;
  readonly run: <T>(callback: () => Promise<T>) => Promise<T>;
  readonly insert: (text: string, em?: EntityManager) => Promise<unknown>;
  /** Id of the transaction that a session is in. */
  readonly xid: (em?: EntityManager) => Promise<string>;
}

/**
 * Starts a world for the tests of the `describe` that it is called in, and demands after each of
 * them that nothing is left checked out or open.
 */
export function useWorld(start: () => Promise<TestWorld> = startWorld): SharedWorld {
  let world: TestWorld;
  let session: EntityManager;

  beforeAll(async () => {
    world = await start();
    session = world.session();
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    await world.database.query('truncate note restart identity');
    world.proxy.reset();
  });
  afterEach(async () => {
    await world.serverIsIdle();
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  return {
    get world() {
      return world;
    },
    get session() {
      return session;
    },
    get dbContext() {
      return world.dbContext;
    },
    run: (callback) => world.dbContext.run(callback),
    insert: (text, em = session) => em.insert(Note, { text }),
    xid: async (em = session) => {
      const [row] = await em.execute<{ xid: string }[]>('select pg_current_xact_id()::text as xid');
      return row!.xid;
    },
  };
}
