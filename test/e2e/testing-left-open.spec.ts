import {
  captureOnCommit,
  OutsideTestError,
  recordContexts,
  recordStatements,
  TestIsolationError,
} from 'nestjs-db-context/testing';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { useTestsAndJobs } from '../support/tests-and-jobs.js';
import { waitFor } from '../support/wait-for.js';

const world = useTestsAndJobs();

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

function leftOpen(text: string): unknown {
  return expect.objectContaining({
    name: 'TestIsolationError',
    code: 'TEST_ISOLATION',
    connectionName: 'default',
    message: expect.stringContaining(text),
  });
}

const TEST_ENDED: unknown = expect.objectContaining({
  name: 'OutsideTestError',
  reason: 'test-ended',
  connectionName: 'default',
  message: expect.stringMatching(
    /"default" was used by dbContext\.run\(\), which belongs to .*ended\. .*a part of another test/s,
  ),
});

/** A unit of work that waits before its next statement. */
function pausing(
  first: () => Promise<unknown> = () => Promise.resolve(),
  text = 'late',
): {
  readonly paused: Promise<void>;
  readonly goOn: () => void;
  readonly end: Promise<unknown>;
} {
  const paused = deferred();
  const mayGoOn = deferred();
  const end = failure(
    world.app.dbContext.run(async () => {
      await first();
      paused.resolve();
      await mayGoOn.promise;
      await world.app.session().insert(Note, { text });
    }),
  );
  return { paused: paused.promise, goOn: mayGoOn.resolve, end };
}

it.each([
  ['before its first statement', () => Promise.resolve()],
  [
    'after an early commit',
    async () => {
      await world.app.session().insert(Note, { text: 'early' });
      await world.app.dbContext.commitAll();
    },
  ],
])(
  'T1: a context that a test leaves open %s writes nothing into the next one',
  async (_, first) => {
    const db = world.use();
    await world.hooks.run('beforeAll');
    await world.hooks.run('beforeEach');
    const left = pausing(first);
    await left.paused;
    const end = await failure(world.hooks.run('afterEach'));

    await world.hooks.runTest(async () => {
      left.goOn();
      expect(await left.end).toEqual(TEST_ENDED);
      expect(await left.end).toBeInstanceOf(OutsideTestError);
      expect(await db.session().count(Note)).toBe(0);
    });
    expect(end).toEqual(
      leftOpen(
        '1 unit(s) of work that began in the test were still open when the test ended: dbContext.run()',
      ),
    );
    await world.hooks.run('afterAll');
    expect(await world.saved()).toEqual([]);
  },
);

it('T1: neither does what such a context opens in the next test', async () => {
  const db = world.use();
  db.beforeAll((session) => session.insert(Note, { text: 'of the block' }) as never);
  await world.hooks.run('beforeAll');
  await world.hooks.run('beforeEach');
  const left = pausing();
  const mayOpen = deferred();
  const opened = failure(
    world.app.dbContext.run(async () => {
      await mayOpen.promise;
      await world.app.dbContext.runInNewContext(() =>
        world.app.session().insert(Note, { text: 'inner' }),
      );
    }),
  );
  await left.paused;
  expect(await failure(world.hooks.run('afterEach'))).toEqual(leftOpen('2 unit(s) of work'));

  await world.hooks.runTest(async () => {
    left.goOn();
    mayOpen.resolve();
    expect(await left.end).toEqual(TEST_ENDED);
    expect(await opened).toMatchObject({ name: 'OutsideTestError', reason: 'test-ended' });
    expect(await db.session().count(Note)).toBe(1);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: what was opened before a test, in a block or between two, may go on in it', async () => {
  const db = world.use();
  let ofBlock: ReturnType<typeof pausing> | undefined;
  db.beforeAll(async () => {
    ofBlock = pausing();
    await ofBlock.paused;
  });
  await world.hooks.run('beforeAll');
  const between = pausing(undefined, 'between');
  await between.paused;
  await world.hooks.runTest(async () => {
    ofBlock!.goOn();
    between.goOn();
    expect(await Promise.all([ofBlock!.end, between.end])).toEqual([undefined, undefined]);
    expect(await db.session().count(Note)).toBe(2);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: a context that is about to end does so, and the test passes', async () => {
  const db = world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.run('beforeEach');
  const left = pausing();
  await left.paused;
  const ended = world.hooks.run('afterEach');
  left.goOn();
  await ended;
  expect(await left.end).toBeUndefined();
  await world.hooks.runTest(async () => {
    expect(await db.session().count(Note)).toBe(0);
  });
  await world.hooks.run('afterAll');
});

it.each([
  [
    'of a context',
    'TEST_ISOLATION',
    '1 unit(s) of work that began in the test',
    () => world.app.dbContext.run(() => world.app.session().execute('select pg_sleep(60)')),
  ],
  [
    'of a fork',
    '57014',
    '1 statement(s) had not been answered',
    () => world.app.connection().orm.em.fork().execute('select pg_sleep(60)'),
  ],
])(
  'T1: a statement %s that runs as the test ends is cancelled, and the test fails',
  async (_, code, text, send) => {
    world.use();
    await world.hooks.run('beforeAll');
    await world.hooks.run('beforeEach');
    const sent = failure(send());
    await waitFor(
      async () =>
        (
          await world.database.query(
            `select 1 from pg_stat_activity where datname = current_database() and state = 'active'
           and pid <> pg_backend_pid() and query like '%pg_sleep(60)%'`,
          )
        ).length === 1,
      { what: 'the statement to run' },
    );
    const end = await failure(world.hooks.run('afterEach'));
    expect(await sent).toMatchObject({ code });
    expect(end).toEqual(leftOpen(text));
    expect(end).toBeInstanceOf(TestIsolationError);
    await world.hooks.run('afterAll');
  },
);

it('T1: what captures hooks or records in a test ends with the test, also where it hangs', async () => {
  const { app, dbContext } = world.app;
  const mayEnd = deferred();
  const ran: string[] = [];
  const place = (text: string): Promise<unknown> =>
    dbContext.run(async () => {
      dbContext.onCommit(() => ran.push(text));
      await world.app.session().insert(Note, { text });
    });
  world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.run('beforeEach');
  const recorded = Promise.all([
    recordContexts(app, () => mayEnd.promise),
    recordStatements(app, () => mayEnd.promise),
  ]);
  const hangs = deferred();
  const executed = failure(
    captureOnCommit(
      app,
      async () => {
        await place('of the test');
        hangs.resolve();
        await mayEnd.promise;
      },
      { execute: true },
    ),
  );
  await hangs.promise;
  await world.hooks.run('afterEach');

  await world.hooks.runTest(async () => {
    await place('of the next test');
    expect(ran).toEqual(['of the next test']);
    mayEnd.resolve();
    expect(await executed).toEqual(leftOpen('a callback that captureOnCommit() has kept'));
    const [contexts, statements] = await recorded;
    expect(contexts).toHaveLength(1);
    expect(statements).toHaveLength(1);
  });
  expect(ran).toEqual(['of the next test']);
  await world.hooks.run('afterAll');
});
