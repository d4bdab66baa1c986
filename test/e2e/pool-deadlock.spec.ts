import type { EntityManager } from '@mikro-orm/postgresql';
import { AcquireTimeoutError, PoolDeadlockError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const limits = { acquireTimeoutMs: 15_000, deadlockTimeoutMs: 100 };

describe('a context that waits for a connection that only it holds', () => {
  const at = useWorld(() => startWorld({ poolMax: 1, ...limits }));

  const ways: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['runInNewContext()', () => at.dbContext.runInNewContext(() => at.insert('inner'))],
    ['newSession()', () => at.dbContext.newSession((em: EntityManager) => at.xid(em))],
    ['newAtomicSession()', () => at.dbContext.newAtomicSession((em: EntityManager) => at.xid(em))],
    [
      'runInNewContext() in a context without a connection',
      () =>
        at.dbContext.runInNewContext(() => at.dbContext.runInNewContext(() => at.insert('inner'))),
    ],
    [
      'em.transactional() with requires_new',
      () =>
        at.session.transactional((em) => at.insert('inner', em), { propagation: 'requires_new' }),
    ],
    [
      'the transaction of a fork',
      () => at.session.fork().transactional((em) => at.insert('inner', em)),
    ],
    [
      'runAllInNewContexts()',
      () => at.dbContext.runAllInNewContexts([() => at.insert('inner'), () => at.insert('inner')]),
    ],
  ];

  it.each(ways)('C3: by %s, gets an error, and can go on', async (_, wait) => {
    await at.run(async () => {
      await at.insert('outer');
      const error: unknown = await wait().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(PoolDeadlockError);
      expect(error).toMatchObject({
        code: 'POOL_DEADLOCK',
        connectionName: 'default',
        message: expect.stringContaining('pool of 1'),
      });
      await at.insert('goes on');
    });
    expect(await at.world.savedTexts()).toEqual(['outer', 'goes on']);
  });

  it('C3: is served when it has given the outer connection back', async () => {
    await at.run(async () => {
      await at.insert('outer');
      await at.dbContext.commit();
      await at.dbContext.runInNewContext(() => at.insert('inner'));
    });
    expect(await at.world.savedTexts()).toEqual(['outer', 'inner']);
  });

  it('C3: is served by a branch of its own that is at work, and gives back', async () => {
    await at.run(async () => {
      const slow = at.dbContext.atomic((em: EntityManager) =>
        em.execute('select pg_sleep(0.5)').then(() => at.insert('atomic')),
      );
      await waitFor(() => at.world.proxy.log.some((sql) => sql.includes('pg_sleep')), {
        what: 'the block to be at work',
      });
      await Promise.all([slow, at.dbContext.runInNewContext(() => at.insert('inner'))]);
    });
    expect(await at.world.savedTexts()).toEqual(['atomic', 'inner']);
  });

  it('C3: waits for another request, which has no need of it', async () => {
    const mayEnd = deferred();
    const holds = deferred();
    const other = at.run(async () => {
      await at.insert('other');
      holds.resolve();
      await mayEnd.promise;
    });
    await holds.promise;
    const waiting = at.run(() => at.insert('waited'));
    await waitFor(() => at.world.pool().waiting === 1, { what: 'a caller to wait' });
    // Several looks go by: an interval of its own, as long as three of them.
    await at.world.database.query('select pg_sleep(0.3)');
    mayEnd.resolve();
    await Promise.all([other, waiting]);
    expect(await at.world.savedTexts()).toEqual(['other', 'waited']);
  });
});

describe('contexts that hold the whole pool and wait for more', () => {
  const at = useWorld(() => startWorld({ poolMax: 5, ...limits }));

  it('C3: one of them is refused, and all others go on', async () => {
    const all = deferred();
    let holders = 0;
    const request = (name: string): Promise<unknown> =>
      at.run(async () => {
        await at.insert(`outer ${name}`);
        if (++holders === 5) {
          all.resolve();
        }
        await all.promise;
        await at.dbContext.runInNewContext(() => at.insert(`inner ${name}`));
      });
    const outcomes = await Promise.allSettled(['a', 'b', 'c', 'd', 'e'].map(request));
    const refused = outcomes.filter((each) => each.status === 'rejected');
    expect(refused.map((each) => each.reason)).toEqual([expect.any(PoolDeadlockError)]);
    expect(await at.world.savedTexts()).toHaveLength(8);
  });

  it('C3: a request whose parallel contexts only take turns is not refused', async () => {
    await at.run(async () => {
      await at.insert('outer');
      await Promise.all(
        Array.from({ length: 12 }, (_, i) =>
          at.dbContext.runInNewContext(async () => {
            await at.session.execute('select pg_sleep(0.15)');
            await at.insert(`inner ${i}`);
          }),
        ),
      );
    });
    expect(await at.world.savedTexts()).toHaveLength(13);
  });
});

describe('connections that somebody else holds', () => {
  const at = useWorld(() =>
    startWorld({ poolMax: 2, acquireTimeoutMs: 500, deadlockTimeoutMs: 50 }),
  );

  it('C3: are not known to be stuck, so the limit decides', async () => {
    const { driver } = at.world.connection().orm;
    const { client } = await takeFromPool(driver);
    try {
      await at.run(async () => {
        await at.insert('outer');
        await expect(at.dbContext.runInNewContext(() => at.insert('inner'))).rejects.toBeInstanceOf(
          AcquireTimeoutError,
        );
      });
    } finally {
      client.release();
    }
    expect(await at.world.savedTexts()).toEqual(['outer']);
  });
});

describe('contexts that wait for each other across two pools', () => {
  const DEADLOCK_MS = 500;
  let database: TestDatabase;
  let app: TestApp;
  let other: TestApp;

  const start = (): Promise<TestApp> =>
    startApp({
      connections: ['default', 'audit'].map((name) =>
        noteConnection(database.url, {
          name,
          poolMax: 1,
          acquireTimeoutMs: 15_000,
          deadlockTimeoutMs: DEADLOCK_MS,
        }),
      ),
    });

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await start();
    other = await start();
  });
  beforeEach(() => database.query('truncate note restart identity'));
  afterAll(async () => {
    await app.close();
    await other.close();
    await database.drop();
  });

  const insert = (name: string, text: string): Promise<unknown> =>
    app.session(name).insert(Note, { text });

  /** Runs two contexts that hold the connection of one pool each before they ask for the other. */
  const cross = async (
    second: (name: string, text: string) => Promise<unknown>,
  ): Promise<PromiseSettledResult<unknown>[]> => {
    const all = deferred();
    let holders = 0;
    const request = (from: string, to: string): Promise<unknown> =>
      app.dbContext.run(async () => {
        await insert(from, `${from} first`);
        if (++holders === 2) {
          all.resolve();
        }
        await all.promise;
        await second(to, `${to} second`);
      });
    return Promise.allSettled([request('default', 'audit'), request('audit', 'default')]);
  };

  const ways: readonly (readonly [string, typeof insert])[] = [
    ['in one context', insert],
    [
      'from a new context inside of the first',
      (name, text) => app.dbContext.runInNewContext(() => insert(name, text)),
    ],
  ];

  it.each(ways)(
    'C3: %s, one is refused after two looks, and the other commits',
    async (_, second) => {
      const startedAt = performance.now();
      const outcomes = await cross(second);
      const tookMs = performance.now() - startedAt;
      const refused = outcomes.filter((each) => each.status === 'rejected');
      expect(refused.map(({ reason }) => reason as unknown)).toEqual([
        expect.objectContaining({
          code: 'POOL_DEADLOCK',
          message: expect.stringMatching(/^Every connection of "(default|audit)" \(pool of 1, /),
        }),
      ]);
      expect(refused[0]?.reason).toBeInstanceOf(PoolDeadlockError);
      // Two looks, and much time for a slow machine; acquireTimeoutMs is 15 s.
      expect(tookMs).toBeLessThan(2 * DEADLOCK_MS + 2_000);
      const saved = await database.query<{ text: string }>('select text from note');
      expect(saved.map(({ text }) => text).toSorted()).toEqual(
        outcomes[0]?.status === 'fulfilled'
          ? ['audit second', 'default first']
          : ['audit first', 'default second'],
      );
      for (const name of ['default', 'audit']) {
        expect(app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
      }
    },
  );

  it('C3: another application of the process, whose contexts wait in turn, is left alone', async () => {
    const mayEnd = deferred();
    const holds = deferred();
    const slow = other.dbContext.run(async () => {
      await other.session('audit').insert(Note, { text: 'other slow' });
      holds.resolve();
      await mayEnd.promise;
    });
    await holds.promise;
    const waiting = other.dbContext.run(async () => {
      await other.session().insert(Note, { text: 'other default' });
      await other.session('audit').insert(Note, { text: 'other audit' });
    });
    await waitFor(() => other.pool('audit').waiting === 1, { what: 'a context to wait' });
    const outcomes = await cross(insert);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    // The detectors of both applications have looked by now.
    expect(other.pool('audit').waiting).toBe(1);
    mayEnd.resolve();
    await Promise.all([slow, waiting]);
    const saved = await database.query<{ text: string }>(
      "select text from note where text like 'other%' order by id",
    );
    expect(saved.map(({ text }) => text)).toEqual(['other slow', 'other default', 'other audit']);
  });
});

interface ForeignClient {
  release(): void;
}

async function takeFromPool(driver: {
  getConnection(): unknown;
}): Promise<{ client: ForeignClient }> {
  const connection = driver.getConnection() as {
    getNativeClient(): Promise<{ connect(): Promise<ForeignClient> }>;
  };
  const pool = await connection.getNativeClient();
  return { client: await pool.connect() };
}
