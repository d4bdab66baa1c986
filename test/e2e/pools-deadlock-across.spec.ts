import { AcquireTimeoutError, PoolDeadlockError, UnexpectedRollbackError } from 'nestjs-db-context';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const DEADLOCK_TIMEOUT_MS = 100;
/** Long against two looks for a deadlock, and short enough for a test that waits it out. */
const ACQUIRE_TIMEOUT_MS = 4_000;
const NAMES = ['default', 'second', 'third'] as const;

type Name = (typeof NAMES)[number];

/** An application whose three connections have pools of their own, all of one database. */
async function startThreePools(poolMax: number): Promise<TestWorld> {
  const world = await startWorld();
  const app = await startApp({
    connections: NAMES.map((name) =>
      noteConnection(world.database.url, {
        name,
        poolMax,
        acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
        deadlockTimeoutMs: DEADLOCK_TIMEOUT_MS,
      }),
    ),
  });
  return {
    ...world,
    ...app,
    close: async () => {
      await app.close();
      await world.close();
    },
  };
}

/** Resolves when it has been called as often as there are units. */
function barrier(units: number): () => Promise<void> {
  const all: Deferred<void> = deferred();
  let arrived = 0;
  return () => {
    if (++arrived === units) {
      all.resolve();
    }
    return all.promise;
  };
}

let world: TestWorld;

const insert = (name: Name, text: string): Promise<unknown> =>
  world.session(name).insert(Note, { text });

/** A unit of work that holds a connection of one pool, and then wants one of another pool. */
const unit = (id: string, held: Name, wanted: Name, isHeld: () => Promise<void>): Promise<void> =>
  world.dbContext.run(async () => {
    await insert(held, `${id} holds ${held}`);
    await isHeld();
    await insert(wanted, `${id} got ${wanted}`);
  });

/** Measures on the monotonic clock. */
async function timed<T>(work: Promise<T>): Promise<readonly [result: T, tookMs: number]> {
  const startedAt = performance.now();
  return [await work, performance.now() - startedAt];
}

/** One unit is refused soon, and all others are committed. */
async function expectOneRefused(units: readonly Promise<unknown>[]): Promise<void> {
  const [outcomes, tookMs] = await timed(Promise.allSettled(units));
  const refused = outcomes.filter((each) => each.status === 'rejected');
  expect(refused.map(({ reason }) => reason as unknown)).toEqual([expect.any(PoolDeadlockError)]);
  expect(refused[0]!.reason).toMatchObject({
    code: 'POOL_DEADLOCK',
    connectionName: expect.stringMatching(/^(default|second|third)$/),
  });
  // Two looks for a deadlock take 200 ms; the rest is for a machine that is busy.
  expect(tookMs).toBeLessThan(ACQUIRE_TIMEOUT_MS / 2);
  // Each of the others has saved both of its rows, and the one that was refused none.
  expect(await world.savedTexts()).toHaveLength(2 * (units.length - 1));
}

beforeEach(async () => {
  await world.database.query('truncate note restart identity');
});

afterEach(async () => {
  await world.serverIsIdle();
  for (const name of NAMES) {
    expect(world.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
  }
});

describe('units of work that hold connections of several pools of one', () => {
  beforeAll(async () => {
    world = await startThreePools(1);
  });
  afterAll(() => world.close());

  it('C3, F6: of two that wait for each other one is refused, and the other goes on', async () => {
    const isHeld = barrier(2);
    await expectOneRefused([
      unit('a', 'default', 'second', isHeld),
      unit('b', 'second', 'default', isHeld),
    ]);
  });

  it('C3, F6: of three in a ring one is refused, and the others go on', async () => {
    const isHeld = barrier(3);
    await expectOneRefused([
      unit('a', 'default', 'second', isHeld),
      unit('b', 'second', 'third', isHeld),
      unit('c', 'third', 'default', isHeld),
    ]);
  });

  it('C3, F6: a connection that is wanted in a context inside counts for the outer one', async () => {
    const isHeld = barrier(2);
    const nested = (id: string, held: Name, wanted: Name): Promise<void> =>
      world.dbContext.run(async () => {
        await insert(held, `${id} holds ${held}`);
        await isHeld();
        await world.dbContext.runInNewContext(() => insert(wanted, `${id} got ${wanted}`));
      });
    await expectOneRefused([nested('a', 'default', 'second'), nested('b', 'second', 'default')]);
  });

  it('C3, F4: the one that is refused cannot commit where it swallows the error', async () => {
    const isHeld = barrier(2);
    const tolerant = (id: string, held: Name, wanted: Name): Promise<void> =>
      world.dbContext.run(async () => {
        await insert(held, `${id} holds ${held}`);
        await isHeld();
        await insert(wanted, `${id} got ${wanted}`).catch(() => undefined);
      });
    const [outcomes, tookMs] = await timed(
      Promise.allSettled([tolerant('a', 'default', 'second'), tolerant('b', 'second', 'default')]),
    );
    const refused = outcomes.filter((each) => each.status === 'rejected');
    expect(refused.map(({ reason }) => reason as unknown)).toEqual([
      expect.any(UnexpectedRollbackError),
    ]);
    expect(refused[0]!.reason).toMatchObject({ cause: expect.any(PoolDeadlockError) });
    expect(tookMs).toBeLessThan(ACQUIRE_TIMEOUT_MS / 2);
    expect(await world.savedTexts()).toHaveLength(2);
  });

  it('C3: one that waits for a pool whose holder is at work elsewhere is served', async () => {
    const mayEnd = deferred();
    const isHeld = barrier(2);
    const worker = world.dbContext.run(async () => {
      await insert('second', 'the worker');
      await isHeld();
      await mayEnd.promise;
    });
    const waiter = unit('a', 'default', 'second', isHeld);
    await waitFor(() => world.pool('second').waiting === 1, { what: 'a caller to wait' });
    // Several looks go by: an interval of its own, as long as three of them.
    await world.database.query('select pg_sleep(0.3)');
    mayEnd.resolve();
    await Promise.all([worker, waiter]);
    expect((await world.savedTexts()).toSorted()).toEqual([
      'a got second',
      'a holds default',
      'the worker',
    ]);
  });

  it('C3: a chain that ends with one at work is served, from its end', async () => {
    const mayEnd = deferred();
    const isHeld = barrier(3);
    const worker = world.dbContext.run(async () => {
      await insert('third', 'the worker');
      await isHeld();
      await mayEnd.promise;
    });
    const chain = [unit('a', 'default', 'second', isHeld), unit('b', 'second', 'third', isHeld)];
    await waitFor(() => world.pool('second').waiting + world.pool('third').waiting === 2, {
      what: 'both callers to wait',
    });
    await world.database.query('select pg_sleep(0.3)');
    mayEnd.resolve();
    await Promise.all([worker, ...chain]);
    expect(await world.savedTexts()).toHaveLength(5);
  });
});

describe('units of work that hold connections of several pools of two', () => {
  beforeAll(async () => {
    world = await startThreePools(2);
  });
  afterAll(() => world.close());

  it('C3, F6: of four that hold both pools and wait across one is refused', async () => {
    const isHeld = barrier(4);
    await expectOneRefused([
      unit('a', 'default', 'second', isHeld),
      unit('b', 'default', 'second', isHeld),
      unit('c', 'second', 'default', isHeld),
      unit('d', 'second', 'default', isHeld),
    ]);
  });

  it('C3: a pool of which one holder is at work is waited for', async () => {
    const mayEnd = deferred();
    const isHeld = barrier(4);
    const worker = world.dbContext.run(async () => {
      await insert('second', 'the worker');
      await isHeld();
      await mayEnd.promise;
    });
    const others = [
      unit('a', 'default', 'second', isHeld),
      unit('b', 'default', 'second', isHeld),
      unit('c', 'second', 'default', isHeld),
    ];
    await waitFor(() => world.pool('second').waiting === 2, { what: 'two callers to wait' });
    await world.database.query('select pg_sleep(0.3)');
    mayEnd.resolve();
    await Promise.all([worker, ...others]);
    expect(await world.savedTexts()).toHaveLength(7);
  });

  it('C3: a connection that somebody else holds is not known to be stuck, so the limit decides', async () => {
    const connection = world.connection('second').orm.driver.getConnection() as unknown as {
      getNativeClient(): Promise<{ connect(): Promise<{ release(): void }> }>;
    };
    const pool = await connection.getNativeClient();
    const foreign = await pool.connect();
    try {
      const isHeld = barrier(3);
      const outcomes = await Promise.allSettled([
        unit('a', 'default', 'second', isHeld),
        unit('b', 'default', 'second', isHeld),
        unit('c', 'second', 'default', isHeld),
      ]);
      const reasons = outcomes.flatMap((each) =>
        each.status === 'rejected' ? [each.reason as unknown] : [],
      );
      expect(reasons.length).toBeGreaterThan(0);
      expect(reasons).toEqual(reasons.map(() => expect.any(AcquireTimeoutError)));
    } finally {
      foreign.release();
    }
  });
});
