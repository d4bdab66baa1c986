import { TestConnectionLostError } from 'nestjs-db-context/testing';

import { concurrentBlock } from '../support/concurrent-block.js';
import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { useTestsAndJobs } from '../support/tests-and-jobs.js';
import { waitFor } from '../support/wait-for.js';

const world = useTestsAndJobs();

const TERMINATED = 'terminating connection due to administrator command';

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

function lost(reason: string): unknown {
  return expect.objectContaining({
    name: 'TestConnectionLostError',
    code: 'TEST_CONNECTION_LOST',
    connectionName: 'default',
    message: expect.stringContaining(reason),
    cause: expect.objectContaining({ message: expect.stringContaining(reason) }),
  });
}

/** A unit of work of the application that ends the backend which it is served by. */
function kill(app = world.app): Promise<unknown> {
  return app.dbContext.run(async () => {
    await app.session().insert(Note, { text: 'lost' });
    await app.session().execute('select pg_terminate_backend(pg_backend_pid())');
  });
}

/** Ends the backend of a test from outside, while it idles. */
async function killIdle(): Promise<void> {
  const idle = `datname = current_database() and state like 'idle in transaction%'
    and query like '%"note"%'`;
  await world.database.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where ${idle}`,
  );
  await waitFor(
    async () =>
      (await world.database.query(`select 1 from pg_stat_activity where ${idle}`)).length === 0,
    { what: 'the backend to end' },
  );
}

it('T1: work of a test is refused at once after its connection was lost in a request', async () => {
  const db = world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    await db.session().insert(Note, { text: 'of the test' });
    // It fails as in production.
    expect(await failure(kill())).toMatchObject({ code: '57P01' });
    const after = await failure(world.insert('after'));
    expect(after).toEqual(lost(TERMINATED));
    expect(after).toBeInstanceOf(TestConnectionLostError);
    expect((await world.post('/notes', 'after')).status).toBe(500);
    expect(await failure(db.session().count(Note))).toEqual(lost(TERMINATED));
    expect(await failure(db.session().count(Note))).toEqual(lost(TERMINATED));
    expect(db.openTransactions).toBe(0);
    // The other connection goes on.
    await world.insert('audit', 'audit');
  });

  await world.hooks.runTest(async () => {
    await world.insert('of the next test');
    expect(await db.session().count(Note)).toBe(1);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it.each([
  ['idled', async () => killIdle()],
  [
    'had a statement of the test itself at work',
    async (send: (sql: string) => Promise<unknown>) => {
      expect(await failure(send('select pg_terminate_backend(pg_backend_pid())'))).toEqual(
        lost(TERMINATED),
      );
    },
  ],
])('T1: so it is where the connection %s', async (_, lose) => {
  const db = world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    const session = db.session();
    await session.insert(Note, { text: 'of the test' });
    await lose((sql) => session.execute(sql));
    // A statement that leaves before the application hears of the end fails as in production.
    let after: unknown;
    await waitFor(
      async () => {
        after = await failure(world.insert('after'));
        return after instanceof TestConnectionLostError;
      },
      { what: 'the application to hear of the end' },
    );
    expect(after).toEqual(lost(TERMINATED));
    expect(await failure(session.count(Note))).toEqual(lost(TERMINATED));
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: what waits for its turn then is refused as well', async () => {
  const db = world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    const begun = deferred();
    const mayEnd = deferred();
    const held = failure(
      world.app.dbContext.run(async () => {
        await world.app.session().insert(Note, { text: 'held' });
        begun.resolve();
        await mayEnd.promise;
        await world.app.session().count(Note);
      }),
    );
    await begun.promise;
    const waiting = [failure(world.insert('first')), failure(world.insert('second'))];
    await killIdle();
    expect(await Promise.all(waiting)).toEqual([lost(TERMINATED), lost(TERMINATED)]);
    mayEnd.resolve();
    expect(await held).toMatchObject({ name: expect.stringMatching(/Error/) });
    expect(db.openTransactions).toBe(0);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: the later tests of its block fail with that, and the tests after the block run', async () => {
  const db = world.use();
  db.beforeAll((session) => session.insert(Note, { text: 'of the block' }) as never);
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(() => failure(kill()));
  for (let test = 2; test <= 3; test++) {
    expect(await failure(world.hooks.run('beforeEach'))).toEqual(lost(TERMINATED));
    await world.hooks.run('afterEach');
  }
  expect(await failure(db.session().count(Note))).toEqual(lost(TERMINATED));
  await world.hooks.run('afterAll');

  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    expect(await db.session().count(Note)).toBe(1);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: its rows cannot be kept, for the same reason', async () => {
  world.use({ keepOnFailure: () => true });
  await world.hooks.run('beforeAll');
  await world.hooks.run('beforeEach');
  await failure(kill());
  expect(await failure(world.hooks.run('afterEach'))).toMatchObject({
    name: 'KeptRowsError',
    kept: [{ connectionName: 'default', failure: lost(TERMINATED) }, { failure: undefined }],
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: of concurrent tests only that one is refused, at once', async () => {
  // An application of its own, which goes on to refuse the late work of concurrent tests.
  const app = await startApp({ connections: [noteConnection(world.database.url)] });
  const { hooks, db, runTest } = concurrentBlock(() => app.app);
  const isLost = deferred();
  const insert = (text: string): Promise<unknown> =>
    app.dbContext.run(() => app.session().insert(Note, { text }));
  try {
    await hooks.run('beforeAll');
    const dying = runTest(async () => {
      const three = [failure(kill(app)), failure(insert('a')), failure(insert('b'))];
      const [killed, ...others] = await Promise.all(three);
      expect(killed).toMatchObject({ code: '57P01' });
      expect(others).toEqual([lost(TERMINATED), lost(TERMINATED)]);
      expect(await failure(db.session().count(Note))).toEqual(lost(TERMINATED));
      isLost.resolve();
    });
    const other = runTest(async () => {
      await db.session().insert(Note, { text: 'unharmed' });
      await isLost.promise;
      await insert('after');
      expect(await db.session().count(Note)).toBe(2);
    });
    await Promise.all([dying, other]);
    await hooks.run('afterAll');
  } finally {
    isLost.resolve();
    await app.close();
  }
  expect(await world.saved()).toEqual([]);
});
