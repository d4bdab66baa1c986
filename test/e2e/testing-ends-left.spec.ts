import { openTestContext } from 'nestjs-db-context/testing';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { useTestsAndJobs } from '../support/tests-and-jobs.js';

const world = useTestsAndJobs();

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

describe('openTestContext()', () => {
  it('T1: one that a test leaves open ends with the test', async () => {
    const db = world.use();
    await world.hooks.run('beforeAll');
    let context: ReturnType<typeof openTestContext> | undefined;
    await world.hooks.runTest(async () => {
      context = openTestContext(world.app.app);
      await world.app.session().insert(Note, { text: 'of the first' });
    });
    await world.hooks.runTest(async () => {
      await world.insert('of the second');
      expect((await world.post('/notes', 'of a request')).status).toBe(201);
      expect(await db.session().count(Note)).toBe(2);
      await context!.close();
      expect(await db.session().count(Note)).toBe(2);
    });
    await world.hooks.run('afterAll');
    expect(await world.saved()).toEqual([]);
  });
});

it('T1: a commit that comes after the end of its test says that, and not that it may be saved', async () => {
  world.use();
  await world.hooks.run('beforeAll');
  await world.hooks.run('beforeEach');
  const mayCommit = deferred();
  const hasWritten = deferred();
  const left = failure(
    world.app.dbContext.run(async () => {
      await world.app.session().insert(Note, { text: 'late' });
      hasWritten.resolve();
      await mayCommit.promise;
    }),
  );
  await hasWritten.promise;
  expect(await failure(world.hooks.run('afterEach'))).toMatchObject({ code: 'TEST_ISOLATION' });
  mayCommit.resolve();
  expect(await left).toMatchObject({
    name: 'TestIsolationError',
    message: expect.stringContaining('it has ended, and this statement came later'),
  });
  await world.hooks.run('afterAll');
  expect(await world.saved()).toEqual([]);
});

it.each(['begin; select 1', 'begin read only; select 1', 'begin'])(
  'T1: %s in the session of a test holds nothing up',
  async (sql) => {
    const db = world.use();
    await world.hooks.run('beforeAll');
    await world.hooks.runTest(async () => {
      await db.session().execute(sql);
      await world.insert('of a job');
      expect(await db.session().count(Note)).toBe(1);
    });
    await world.hooks.run('afterAll');
    expect(await world.saved()).toEqual([]);
  },
);
