import { Note } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { NO_TEST, useTestsAndJobs } from '../support/tests-and-jobs.js';

const world = useTestsAndJobs();

it('T1: what commits in no test does so where outside: commit asks for it', async () => {
  world.use({ outside: 'commit' });
  await world.hooks.run('beforeAll');
  await world.insert('before');
  await world.hooks.runTest(() => world.insert('in a test'));
  await world.insert('after');
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual(['after', 'before']);
});

it('T1: outside: hold keeps a job waiting until the next test, or until its limit', async () => {
  const db = world.use({ outside: 'hold' });
  await world.hooks.run('beforeAll');
  const job = world.insert('held');
  const raw = world.app.connection().orm.em.fork().insert(Note, { text: 'held as well' });
  await world.hooks.runTest(async () => {
    await Promise.all([job, raw]);
    expect(await db.session().count(Note)).toBe(2);
  });
  const last = world.insert('nobody comes').catch((error: unknown) => error);
  expect(await last).toMatchObject({
    name: 'OutsideTestError',
    reason: 'no-test',
    message: expect.stringContaining('waited 500 ms'),
  });
  const pool = await world.app.connection().pool();
  const left = pool.connect().catch((error: unknown) => error);
  await world.hooks.run('afterAll');
  expect(await left).toMatchObject({ name: 'OutsideTestError', reason: 'no-test' });
  expect(await world.saved()).toEqual([]);
});

it('T1: work that comes while a test begins waits for it', async () => {
  const db = world.use();
  await world.hooks.run('beforeAll');
  const begins = world.hooks.run('beforeEach');
  const early = world.insert('early');
  await Promise.all([begins, early]);
  expect(await db.session().count(Note)).toBe(1);
  await world.hooks.run('afterEach');
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: between the tests of a block a job is refused, and its set-up and hooks are not', async () => {
  const db = world.use();
  db.beforeAll(async (session) => {
    session.create(Note, { text: 'of the block' });
    expect((await world.post('/notes', 'by a request')).status).toBe(201);
  });
  await world.hooks.run('beforeAll');
  expect(await world.insert('job').catch((error: unknown) => error)).toEqual(NO_TEST);
  expect(await db.session().count(Note)).toBe(2);
  for (const text of ['one', 'two']) {
    const begins = world.hooks.run('beforeEach');
    await Promise.all([begins, world.insert(text)]);
    expect(await db.session().count(Note)).toBe(3);
    await world.hooks.run('afterEach');
    expect(await world.insert('job').catch((error: unknown) => error)).toEqual(NO_TEST);
  }
  expect(await world.endOfBlock()).toMatchObject({
    name: 'OutsideTestError',
    message: expect.stringContaining('3 times'),
  });
  expect(await world.saved()).toEqual([]);
});

it('T1: outside: hold makes it a part of the next test of the block, outside: commit of the block', async () => {
  const held = world.use({ outside: 'hold' });
  held.beforeAll((session) => void session.create(Note, { text: 'of the block' }));
  await world.hooks.run('beforeAll');
  const job = world.insert('held');
  await world.hooks.runTest(async () => {
    await job;
    expect(await held.session().count(Note)).toBe(2);
  });
  await world.hooks.runTest(async () => {
    expect(await held.session().count(Note)).toBe(1);
  });
  await world.hooks.run('afterAll');

  world.hooks = new RunnerHooks();
  const committed = world.use({ outside: 'commit' });
  committed.beforeAll((session) => void session.create(Note, { text: 'of the block' }));
  await world.hooks.run('beforeAll');
  await world.insert('between');
  await world.hooks.runTest(async () => {
    expect(await committed.session().count(Note)).toBe(2);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});
