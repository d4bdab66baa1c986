import {
  OutsideTestError,
  TestTransaction,
  useTestTransaction,
  type UseTestTransactionOptions,
} from 'nestjs-db-context/testing';

import { Note } from '../support/note.entity.js';
import type { TestApp } from '../support/test-app.js';
import { NO_TEST, useTestsAndJobs } from '../support/tests-and-jobs.js';

const world = useTestsAndJobs();

it('T1: a body that starts before beforeEach(), as those of it.concurrent, commits nothing', async () => {
  world.use();
  await world.hooks.run('beforeAll');
  const answers = await Promise.all(['a', 'b', 'c'].map((text) => world.post('/notes', text)));
  const direct = await world.insert('d').catch((error: unknown) => error);

  expect(await world.saved()).toEqual([]);
  expect(answers.map(({ status }) => status)).toEqual([500, 500, 500]);
  expect(direct).toEqual(NO_TEST);
  expect(direct).toBeInstanceOf(OutsideTestError);
  expect(await world.endOfBlock()).toEqual(NO_TEST);
});

it('T1: a background job between two tests commits nothing, and the block fails', async () => {
  const db = world.use();
  await world.hooks.run('beforeAll');
  const jobs: unknown[] = [];
  for (let test = 1; test <= 3; test++) {
    await world.hooks.runTest(async () => {
      await world.insert(`test ${test}`);
      expect(await db.session().count(Note)).toBe(1);
    });
    jobs.push(await world.insert('job').catch((error: unknown) => error));
  }

  expect(await world.saved()).toEqual([]);
  expect(jobs).toEqual([NO_TEST, NO_TEST, NO_TEST]);
  expect(await world.endOfBlock()).toMatchObject({
    name: 'OutsideTestError',
    message: expect.stringContaining('3 times'),
  });
});

it('T1: neither does a statement that is in no context, or past MikroORM', async () => {
  world.use();
  await world.hooks.run('beforeAll');
  const { orm } = world.app.connection();
  const late = new Promise((resolve) => {
    setTimeout(() => resolve(orm.em.fork().insert(Note, { text: 'timer' })), 1);
  }).catch((error: unknown) => error);
  const pool = (await world.app.connection().pool()) as unknown as {
    query(sql: string): Promise<unknown>;
  };
  const raw = await pool
    .query(`insert into note (text) values ('raw')`)
    .catch((error: unknown) => error);

  expect([await late, raw]).toEqual([NO_TEST, NO_TEST]);
  expect(await world.saved()).toEqual([]);
  expect(await world.endOfBlock()).toEqual(NO_TEST);
});

it('T1: a connection that was left out commits nothing, in a test and between two', async () => {
  const db = world.use({ connections: ['default'] });
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    expect((await world.post('/notes/audited', 'a')).status).toBe(500);
    await expect(world.insert('a', 'audit')).rejects.toMatchObject({
      name: 'OutsideTestError',
      reason: 'left-out',
      connectionName: 'audit',
      message: expect.stringContaining(`committing: ['audit']`),
    });
    expect((await world.post('/notes', 'b')).status).toBe(201);
    expect(await db.session().count(Note)).toBe(1);
  });
  await expect(world.insert('between', 'audit')).rejects.toMatchObject({ reason: 'left-out' });
  // The error of a job is seen by nobody, in a test as little as between two.
  expect(await world.endOfBlock()).toMatchObject({
    name: 'OutsideTestError',
    reason: 'left-out',
    connectionName: 'audit',
    message: expect.stringContaining('3 times'),
    cause: { message: expect.stringContaining('NotesController.addAudited') },
  });
  expect(await world.saved()).toEqual([]);

  const begun = await TestTransaction.begin(world.app.app, { connections: ['default'] });
  await expect(world.insert('a', 'audit')).rejects.toMatchObject({ reason: 'left-out' });
  const watching = world.use();
  await world.hooks.run('beforeAll');
  await begun.end();
  // A second call ends no watch but its own.
  await begun.end();
  await expect(world.insert('a', 'audit')).rejects.toMatchObject({ reason: 'no-test' });
  expect(() => watching.session()).toThrow('outside of a test');
  expect(await world.endOfBlock()).toMatchObject({ reason: 'no-test', connectionName: 'audit' });
  expect(await world.saved()).toEqual([]);
});

it.each([
  ['refuse', 1],
  ['hold', 1],
  ['commit', 0],
] as const)(
  "T1: with outside: '%s', work on a left-out connection fails the block %i times",
  async (outside, times) => {
    world.use({ connections: ['default'], outside });
    await world.hooks.run('beforeAll');
    await world.hooks.runTest(async () => {
      // As a job does whose error is in the log alone.
      await world.insert('a', 'audit').catch(() => undefined);
    });
    const end = await world.endOfBlock();
    expect(end).toEqual(times === 0 ? undefined : expect.objectContaining({ reason: 'left-out' }));
    expect(await world.saved()).toEqual([]);
  },
);

it('T1: one that is named as committing does commit', async () => {
  const db = world.use({ committing: ['audit'] });
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    expect((await world.post('/notes/audited', 'a')).status).toBe(201);
    expect(await db.session().find(Note, {})).toMatchObject([
      { text: 'a' },
      { text: 'audit of a' },
    ]);
    expect(() => db.session('audit')).toThrow('Connection "audit" is not shared with the test');
  });
  await world.insert('between', 'audit');
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual(['audit of a', 'between']);
});

it('an application that is made later is watched from its first test on', async () => {
  let later: TestApp | undefined;
  useTestTransaction(() => later!.app, world.hooks.options);
  await world.hooks.run('beforeAll');
  later = world.app;
  await world.hooks.runTest(() => world.insert('in a test'));
  await expect(world.insert('after')).rejects.toMatchObject({ name: 'OutsideTestError' });
  expect(await world.endOfBlock()).toEqual(NO_TEST);
  expect(await world.saved()).toEqual([]);
});

it('refuses options that contradict one another', () => {
  const concurrent = useTestTransaction(() => world.app.app, {
    ...world.hooks.options,
    concurrent: true,
  });
  expect(() => concurrent.beforeAll(() => undefined)).toThrow(
    expect.objectContaining({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('{ concurrent: true } each test has its own'),
    }),
  );
  const options: [UseTestTransactionOptions, string][] = [
    [{ connections: ['audit'], committing: ['audit'] }, 'both in connections and in committing'],
    [{ concurrent: true, outside: 'hold' }, 'leave outside away'],
    [{ outside: 'comit' as never }, `'refuse', 'hold' or 'commit'`],
  ];
  for (const [given, message] of options) {
    expect(() => world.use(given)).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining(message),
      }),
    );
  }
});

it('T1: the session of a connection that is left out is refused by its own reason', async () => {
  const db = await TestTransaction.begin(world.app.app, { connections: ['default'] });
  try {
    expect(() => db.session('audit')).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('Connection "audit" is not shared with the test'),
      }),
    );
    expect(() => db.session('nowhere')).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_CONNECTION', connectionName: 'nowhere' }),
    );
  } finally {
    await db.end();
  }
});

it('a test without an application says so', async () => {
  const missing = undefined as unknown as TestApp['app'];
  await expect(TestTransaction.begin(missing)).rejects.toMatchObject({
    code: 'INVALID_OPTIONS',
    message: expect.stringContaining('A test transaction was given no application'),
  });
});
