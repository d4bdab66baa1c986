import { TestTransaction } from 'nestjs-db-context/testing';

import { Note } from '../support/note.entity.js';
import { useTestsAndJobs } from '../support/tests-and-jobs.js';

const world = useTestsAndJobs();

it('T1: orm.reconnect() in a test is refused rather than waits for the test, which goes on', async () => {
  const db = world.use();
  const { orm } = world.app.connection();
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(async () => {
    await world.insert('before');
    await expect(orm.reconnect()).rejects.toMatchObject({
      name: 'TestIsolationError',
      connectionName: 'default',
      message: expect.stringContaining('MikroORM was to reconnect'),
    });
    await world.insert('after');
    expect(await db.session().count(Note)).toBe(2);
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it('T1: a transaction that begin() of a session has begun is named where it is left open', async () => {
  const db = await TestTransaction.begin(world.app.app);
  const session = db.session();
  await session.begin();
  await session.insert(Note, { text: 'left open' });
  await expect(db.end()).rejects.toMatchObject({
    name: 'TestIsolationError',
    message: expect.stringMatching(
      /1 transaction\(s\).*begin\(\) of a session or a fork has begun/,
    ),
  });
  expect(await world.saved()).toEqual([]);
});

it('T1: what is refused between two tests names the test that had run before', async () => {
  world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.runTest(() => world.insert('in the test'));
  await world.insert('after').catch(() => undefined);
  expect(await world.endOfBlock()).toMatchObject({
    reason: 'no-test',
    message: expect.stringContaining(
      'The test before was "T1: what is refused between two tests names the test that had run before".',
    ),
  });
});

it('T1: a begin() that is not over is named as such by the next one', async () => {
  const { app } = world.app;
  const begun = TestTransaction.begin(app);
  await expect(TestTransaction.begin(app)).rejects.toMatchObject({
    name: 'TestIsolationError',
    message: expect.stringContaining('another one is about to begin, and has not yet'),
  });
  const first = await begun;
  await expect(TestTransaction.begin(app)).rejects.toThrow('one has begun already and not ended');
  await first.end();
});
