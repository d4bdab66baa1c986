import type { EntityManager } from '@mikro-orm/postgresql';
import type { DbContext } from 'nestjs-db-context';

import { Note } from './note.entity.js';
import { startWorld, type TestWorld } from './test-world.js';
import { waitFor } from './wait-for.js';

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

/** What the tests of a shared world do otherwise than most. */
export interface UseWorldOptions {
  /**
   * Whether work that nobody awaits gives its connection back a moment after the server is done, so
   * that the counters of the pool are waited for.
   * @defaultValue false
   */
  readonly hasLateWork?: boolean;
}

/** Throws, so that what a callback did so far is undone. */
export function fail(): never {
  throw new Error('undo');
}

/**
 * Starts a world for the tests of the `describe` that it is called in, or of the whole file, and
 * demands after each of them that nothing is left checked out or open.
 */
export function useWorld(
  start: () => Promise<TestWorld> = startWorld,
  { hasLateWork = false }: UseWorldOptions = {},
): SharedWorld {
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
    if (hasLateWork) {
      await waitFor(() => world.pool().checkedOut === 0, {
        what: 'all connections to be given back',
      });
    }
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
