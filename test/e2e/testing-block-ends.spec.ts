import { defineConfig } from '@mikro-orm/postgresql';
import { useTestTransaction } from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Author, Book, LIBRARY_SCHEMA } from '../support/library.entities.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

let database: TestDatabase;
let wire: WireProxy;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(LIBRARY_SCHEMA);
  wire = await WireProxy.start(database.url);
});
afterAll(async () => {
  await wire.stop();
  await database.drop();
});

async function saved(): Promise<unknown> {
  const [row] = await database.query(
    'select (select count(*) from author) as authors, (select count(*) from book) as books',
  );
  return row;
}

describe('hooks that are handed over', () => {
  type Hooks = Record<
    'beforeAll' | 'afterAll' | 'beforeEach' | 'afterEach',
    (() => Promise<void>)[]
  >;

  function runner(): {
    hooks: Hooks;
    given: Record<keyof Hooks, (hook: () => Promise<void>) => void>;
  } {
    const hooks: Hooks = { beforeAll: [], afterAll: [], beforeEach: [], afterEach: [] };
    const into =
      (name: keyof Hooks) =>
      (hook: () => Promise<void>): void => {
        hooks[name].push(hook);
      };
    return {
      hooks,
      given: {
        beforeAll: into('beforeAll'),
        afterAll: into('afterAll'),
        beforeEach: into('beforeEach'),
        afterEach: into('afterEach'),
      },
    };
  }
  const runAll = async (hooks: (() => Promise<void>)[]): Promise<void> => {
    for (const hook of hooks) {
      expect(hook).toHaveLength(0);
      await hook();
    }
  };
  let other: TestApp;
  beforeAll(async () => {
    other = await startApp({
      connections: [defineConfig({ clientUrl: wire.url, entities: [Author, Book] })],
    });
  });
  afterAll(() => other.close());
  afterEach(async () => {
    expect(other.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(await saved()).toEqual({ authors: '0', books: '0' });
  });

  it('T1: two blocks at one level end in any order', async () => {
    const { hooks, given } = runner();
    const its = useTestTransaction(() => other.app, given);
    its.beforeAll((session) => void session.create(Author, { name: 'one' }));
    its.beforeAll((session) => void session.create(Author, { name: 'two' }));
    await runAll(hooks.beforeAll);
    for (const expected of [2, 2]) {
      await runAll(hooks.beforeEach);
      expect(await its.session().count(Author)).toBe(expected);
      await its.session().insert(Author, { name: 'three' });
      await runAll(hooks.afterEach);
    }
    await runAll(hooks.afterAll);
  });

  it('T1: a test of a block takes one round trip to begin and one to end', async () => {
    const { hooks, given } = runner();
    const its = useTestTransaction(() => other.app, given);
    its.beforeAll((session) => void session.create(Author, { name: 'one' }));
    await runAll(hooks.beforeAll);
    for (const each of [hooks.beforeEach, hooks.afterEach, hooks.beforeEach, hooks.afterEach]) {
      wire.reset();
      await runAll(each);
      expect(wire.roundTrips).toBe(1);
    }
    await runAll(hooks.afterAll);
  });

  it('T1: a set-up that fails leaves nothing, and its block ends without an error', async () => {
    const { hooks, given } = runner();
    const its = useTestTransaction(() => other.app, given);
    its.beforeAll(async (session) => {
      await session.insert(Author, { name: 'lost' });
      throw new Error('as asked');
    });
    await expect(runAll(hooks.beforeAll)).rejects.toThrow(new Error('as asked'));
    await runAll(hooks.beforeEach);
    expect(await its.session().count(Author)).toBe(0);
    await runAll(hooks.afterEach);
    await runAll(hooks.afterAll);
  });

  it('T1: what a test left open ends with it, and the block goes on', async () => {
    const { hooks, given } = runner();
    const its = useTestTransaction(() => other.app, given);
    its.beforeAll((session) => void session.create(Author, { name: 'one' }));
    await runAll(hooks.beforeAll);
    await runAll(hooks.beforeEach);
    const mayGoOn = deferred();
    const isOpen = deferred();
    const late = other.dbContext
      .run(async () => {
        await other.session().insert(Author, { name: 'early' });
        isOpen.resolve();
        await mayGoOn.promise;
        await other.session().insert(Author, { name: 'late' });
      })
      .catch((error: unknown) => error);
    await isOpen.promise;
    await expect(runAll(hooks.afterEach)).rejects.toMatchObject({
      code: 'TEST_ISOLATION',
      message: expect.stringContaining('1 unit(s) of work that began in the test were still open'),
    });
    await runAll(hooks.beforeEach);
    mayGoOn.resolve();
    expect(await late).toMatchObject({ code: 'TEST_ISOLATION' });
    expect(await its.session().count(Author)).toBe(1);
    await runAll(hooks.afterEach);
    await runAll(hooks.afterAll);
  });

  it('T1: a statement that a test left running is cancelled, and the block goes on', async () => {
    const { hooks, given } = runner();
    const its = useTestTransaction(() => other.app, given);
    its.beforeAll((session) => void session.create(Author, { name: 'one' }));
    await runAll(hooks.beforeAll);
    await runAll(hooks.beforeEach);
    await its.session().insert(Author, { name: 'two' });
    const running = its.session().execute('select pg_sleep(60)');
    const cancelled = expect(running).rejects.toMatchObject({ code: '57014' });
    await expect(runAll(hooks.afterEach)).rejects.toMatchObject({
      name: 'TestIsolationError',
      message: expect.stringContaining('1 statement(s) had not been answered when the test ended'),
    });
    await cancelled;
    await runAll(hooks.beforeEach);
    expect(await its.session().count(Author)).toBe(1);
    await runAll(hooks.afterEach);
    await runAll(hooks.afterAll);
  });

  it('T1: an application that closes before the block has ended ends it', async () => {
    const { hooks, given } = runner();
    const closing = await startApp({
      connections: [defineConfig({ clientUrl: wire.url, entities: [Author, Book] })],
    });
    const its = useTestTransaction(() => closing.app, given);
    its.beforeAll((session) => void session.create(Author, { name: 'one' }));
    await runAll(hooks.beforeAll);
    const startedAt = performance.now();
    await closing.close();
    // A pool waits 5 s for a client that nobody gives back.
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    await runAll(hooks.afterAll);
  });
});
