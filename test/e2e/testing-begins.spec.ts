import { TestTimeoutError, useTestTransaction } from 'nestjs-db-context/testing';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const { jest } = import.meta;

let world: TestWorld;
let hooks: RunnerHooks;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.close());
beforeEach(() => {
  hooks = new RunnerHooks();
});
afterEach(async () => {
  jest.useRealTimers();
  world.proxy.onStatement = undefined;
  await waitFor(() => world.pool().checkedOut === 0, {
    what: 'all connections to be given back',
  });
  expect(await world.savedTexts()).toEqual([]);
});

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

const FAKE_CLOCK: unknown = expect.objectContaining({
  name: 'TestTimeoutError',
  code: 'TEST_TIMEOUT',
  message: expect.stringContaining('The process.nextTick() of this process is that of a fake'),
});

it('T1: a fake clock that a test has forgotten is named, and harms no test after it', async () => {
  const db = useTestTransaction(() => world.app, hooks.options);
  await hooks.run('beforeAll');
  // From now on the pool has a client that idles, which it hands out in a process.nextTick().
  await hooks.runTest(() => db.session().count(Note));
  jest.useFakeTimers();
  for (let test = 1; test <= 2; test++) {
    const error = await failure(hooks.run('beforeEach'));
    expect(error).toEqual(FAKE_CLOCK);
    expect(error).toBeInstanceOf(TestTimeoutError);
    await hooks.run('afterEach');
  }
  jest.useRealTimers();
  for (let test = 3; test <= 4; test++) {
    await hooks.runTest(async () => {
      await world.dbContext.run(() => world.session().insert(Note, { text: 'of the test' }));
      expect(await db.session().count(Note)).toBe(1);
    });
  }
  await hooks.run('afterAll');
});

/** Holds the first message like this until it is resolved. */
function holdFirst(pattern: RegExp): {
  readonly held: Promise<void>;
  readonly release: () => void;
} {
  const held = deferred();
  const mayGoOn = deferred();
  let isFirst = true;
  world.proxy.onStatement = (sql) => {
    if (isFirst && pattern.test(sql)) {
      isFirst = false;
      held.resolve();
      return mayGoOn.promise;
    }
    return undefined;
  };
  return { held: held.promise, release: mayGoOn.resolve };
}

it('T1: a test whose begin has not ended is given up by the next one', async () => {
  const db = useTestTransaction(() => world.app, hooks.options);
  await hooks.run('beforeAll');
  const { held, release } = holdFirst(/^begin/);
  const begun = failure(hooks.run('beforeEach'));
  await held;
  // The runner gives the hook up, and goes on.
  await hooks.run('afterEach');
  await hooks.runTest(async () => {
    await db.session().insert(Note, { text: 'of the next test' });
    release();
    expect(await begun).toMatchObject({
      code: 'TEST_TIMEOUT',
      message: expect.stringContaining('was given up'),
    });
    expect(await db.session().count(Note)).toBe(1);
  });
  await hooks.run('afterAll');
});

it('T1: in a block it is waited for, since the data is in its transaction', async () => {
  const db = useTestTransaction(() => world.app, hooks.options);
  db.beforeAll((session) => session.insert(Note, { text: 'of the block' }) as never);
  await hooks.run('beforeAll');
  const { held, release } = holdFirst(/^savepoint/);
  const begun = failure(hooks.run('beforeEach'));
  await held;
  await hooks.run('afterEach');
  expect(await failure(hooks.run('beforeEach'))).toMatchObject({
    code: 'TEST_TIMEOUT',
    message: expect.stringMatching(/has not begun yet.*The server does not answer/),
  });
  await hooks.run('afterEach');
  release();
  await begun;
  await hooks.runTest(async () => {
    await db.session().insert(Note, { text: 'of the test' });
    expect(await db.session().count(Note)).toBe(2);
  });
  await hooks.run('afterAll');
});
