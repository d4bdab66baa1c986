import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { useTestsAndJobs } from '../support/tests-and-jobs.js';

const world = useTestsAndJobs();

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

const em = (): ReturnType<typeof world.app.session> => world.app.connection().orm.em.fork();

/** Runs in the async context of one test, when the next one runs. */
type Late = () => Promise<unknown>;

const FORKS: readonly (readonly [string, Late])[] = [
  ['session.fork()', () => world.app.session().fork().insert(Note, { text: 'late' })],
  ['orm.em.fork()', () => em().insert(Note, { text: 'late' })],
  [
    'transactional() of a fork',
    () => em().transactional((fork) => fork.insert(Note, { text: 'late' })),
  ],
];

const NEW_CONTEXTS: readonly (readonly [string, Late])[] = [
  ['dbContext.run()', () => world.insert('late')],
  [
    'dbContext.runInNewContext()',
    () =>
      world.app.dbContext.runInNewContext(() => world.app.session().insert(Note, { text: 'late' })),
  ],
];

/** What a late piece of work gets, and what the end of the block says. */
function refused(who: string): unknown {
  return expect.objectContaining({
    name: 'OutsideTestError',
    reason: 'test-ended',
    connectionName: 'default',
    message: expect.stringMatching(
      new RegExp(
        `"default" was used by .*${who}.*, which belongs to the test "T1: .*", which has ended`,
      ),
    ),
  });
}

describe('in a job that a test leaves running', () => {
  it.each(FORKS)('T1: %s writes nothing into the next test', async (_, late) => {
    const db = world.use();
    await world.hooks.run('beforeAll');
    await world.hooks.run('beforeEach');
    const mayGoOn = deferred();
    const left = world.app.dbContext.run(async () => {
      await world.app.session().insert(Note, { text: 'early' });
      await world.app.dbContext.commitAll();
      await mayGoOn.promise;
      return failure(late());
    });
    expect(await failure(world.hooks.run('afterEach'))).toMatchObject({
      name: 'TestIsolationError',
      message: expect.stringContaining('1 unit(s) of work'),
    });

    await world.hooks.runTest(async () => {
      mayGoOn.resolve();
      expect(await left).toEqual(refused('dbContext.run\\(\\)'));
      expect(await db.session().count(Note)).toBe(0);
    });
    expect(await world.endOfBlock()).toEqual(refused('dbContext.run\\(\\)'));
    expect(await world.saved()).toEqual([]);
  });
});

describe('from a job of a test that has ended itself', () => {
  it.each([...FORKS.slice(1), ...NEW_CONTEXTS])(
    'T1: %s that comes in the next test is refused, and named',
    async (_, late) => {
      const db = world.use();
      const mayGoOn = deferred();
      let left: Promise<unknown> | undefined;
      await world.hooks.run('beforeAll');
      await world.hooks.runTest(() =>
        world.app.dbContext.run(async () => {
          await world.app.session().insert(Note, { text: 'early' });
          left = mayGoOn.promise.then(() => failure(late()));
        }),
      );
      await world.hooks.runTest(async () => {
        mayGoOn.resolve();
        expect(await left).toEqual(refused('(dbContext\\.run|runInNewContext)\\(\\)'));
        expect(await db.session().count(Note)).toBe(0);
        await world.insert('of the next test');
        expect(await db.session().count(Note)).toBe(1);
      });
      expect(await world.endOfBlock()).toEqual(refused('(dbContext\\.run|runInNewContext)\\(\\)'));
      expect(await world.saved()).toEqual([]);
    },
  );

  it('T1: a context that is opened between two tests is refused in the next one', async () => {
    world.use();
    const mayOpen = deferred();
    const hasOpened = deferred();
    const mayGoOn = deferred();
    let left: Promise<unknown> | undefined;
    await world.hooks.run('beforeAll');
    await world.hooks.runTest(() =>
      world.app.dbContext.run(async () => {
        left = mayOpen.promise.then(() =>
          failure(
            world.app.dbContext.run(async () => {
              hasOpened.resolve();
              await mayGoOn.promise;
              await world.app.session().insert(Note, { text: 'late' });
            }),
          ),
        );
        await Promise.resolve();
      }),
    );
    mayOpen.resolve();
    await hasOpened.promise;
    await world.hooks.runTest(async () => {
      mayGoOn.resolve();
      expect(await left).toEqual(refused('dbContext.run\\(\\)'));
    });
    expect(await world.endOfBlock()).toEqual(refused('dbContext.run\\(\\)'));
    expect(await world.saved()).toEqual([]);
  });
});
