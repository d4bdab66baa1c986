import { useTestTransaction, type ConcurrentTestTransactions } from 'nestjs-db-context/testing';

import { deferred } from '../support/deferred.js';
import { fullMessage } from '../support/full-message.js';
import { Note } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

type RunBody = (...args: unknown[]) => Promise<void>;

describe('T1: concurrent tests and the limits and arguments of their runner', () => {
  let world: TestWorld;
  let hooks: RunnerHooks;
  let db: ConcurrentTestTransactions;
  let registered: RunBody[];

  beforeAll(async () => {
    world = await startWorld({ poolMax: 1 }, { controllers: [] });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    hooks = new RunnerHooks();
    registered = [];
    db = useTestTransaction(() => world.app, {
      ...hooks.options,
      concurrent: true,
      test: (_, body) => registered.push(body),
    });
    await hooks.run('beforeAll');
  });
  afterEach(async () => {
    await hooks.run('afterAll');
    expect(await world.savedTexts()).toEqual([]);
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  const insert = (text: string): Promise<unknown> =>
    world.dbContext.run(() => world.session().insert(Note, { text }));
  /** Registers a test that hangs, on the only connection of the pool, until the spec ends it. */
  const hang = (timeoutMs?: number) => {
    const hasBegun = deferred();
    const mayGoOn = deferred();
    const late = deferred<unknown>();
    const body = async (): Promise<void> => {
      await insert('hangs');
      hasBegun.resolve();
      await mayGoOn.promise;
      late.resolve(await insert('late').catch((error: unknown) => error));
    };
    db.test('hangs', body, timeoutMs);
    return { run: registered.pop()!, hasBegun, mayGoOn, late };
  };
  /** Registers a test that needs a connection. */
  const short = (): RunBody => {
    db.test('is short', () => insert('short'));
    return registered.pop()!;
  };
  const refused = { code: 'OUTSIDE_TEST', reason: 'test-ended' };

  it('a test ends when its runner aborts its signal, and the next one gets its connection', async () => {
    const { run, hasBegun, mayGoOn, late } = hang();
    const controller = new AbortController();
    const hanging = run({ signal: controller.signal });
    await hasBegun.promise;
    const next = short()();
    controller.abort(new Error('timed out, says the runner'));
    await expect(hanging).rejects.toThrow('timed out, says the runner');
    await next;
    mayGoOn.resolve();
    expect(await late.promise).toMatchObject(refused);
  });

  it('a test ends after the timeout that db.test() was given, where there is no signal', async () => {
    const { run, hasBegun, mayGoOn, late } = hang(300);
    const hanging = run().catch((error: unknown) => error);
    await hasBegun.promise;
    await short()();
    expect(await hanging).toMatchObject({
      code: 'TEST_TIMEOUT',
      message: fullMessage('TEST_TIMEOUT', 'The test "hangs" was not over after 300 ms.'),
    });
    mayGoOn.resolve();
    expect(await late.promise).toMatchObject(refused);
  });

  it('a test that waits for a connection fails before its timeout, by the names of those that hold it', async () => {
    const { run, hasBegun, mayGoOn } = hang();
    const hanging = run();
    await hasBegun.promise;
    await expect(short()({ task: { timeout: 300 } })).rejects.toMatchObject({
      code: 'TEST_TIMEOUT',
      message: expect.stringMatching(
        /^The test "is short" did not begin: it waited for \d+ ms .* has 1, held by: "hangs"\./,
      ),
    });
    mayGoOn.resolve();
    await hanging;
  });

  it('the body gets what the runner hands over, though Jest sees no parameter', async () => {
    const got: unknown[] = [];
    db.test('looks', ({ task }: { task: object }, second: string) => got.push(task, second));
    const [body] = registered;
    expect(body).toHaveLength(0);
    // Vitest looks there for the fixtures that a test wants.
    expect(String(body)).toContain('{ task }');
    const task = {};
    await body!({ task }, 'second');
    expect(got).toEqual([task, 'second']);
  });
});
