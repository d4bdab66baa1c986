import { AssertionError } from 'node:assert';
import { setImmediate } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Get, HttpException, Post } from '@nestjs/common';
import { DbContext, InjectSession, InvalidOptionsError } from 'nestjs-db-context';
import {
  captureOnCommit,
  expectCommitted,
  expectNoOpenConnections,
  expectRolledBack,
  expectStatements,
  openRollbackSession,
  openTestContext,
  recordContexts,
  recordStatements,
  TestTransaction,
  useTestTransaction,
} from 'nestjs-db-context/testing';
import { dbContextChannels } from 'nestjs-db-context/telemetry';

import { Note } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { noteConnection } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

const sent: string[] = [];

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('notes')
  async add(@Body() { text, fail }: { text: string; fail?: boolean }): Promise<string> {
    await this.session.insert(Note, { text });
    this.dbContext.onCommit(() => sent.push(text));
    if (fail === true) {
      throw new HttpException('as asked', 422);
    }
    return text;
  }

  @Post('persisted')
  persist(@Body() { text }: { text: string }): string {
    this.session.persist(new Note(text));
    return text;
  }

  @Get('twice')
  async twice(): Promise<number> {
    return (await this.session.count(Note)) + (await this.session.count(Note, { text: 'x' }));
  }
}

let world: TestWorld;
let session: EntityManager;

beforeAll(async () => {
  world = await startWorld({}, { controllers: [NoteController] });
  session = world.session();
});
afterAll(() => world.close());
beforeEach(() => sent.splice(0));
afterEach(async () => {
  expectNoOpenConnections(world.app);
  await world.database.query('truncate note');
});

const run = <T>(callback: () => Promise<T>): Promise<T> => world.dbContext.run(callback);
const insert = (text: string): Promise<unknown> => session.insert(Note, { text });
const post = (path: string, body: object): Promise<Response> =>
  world.fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

describe('openRollbackSession()', () => {
  it('sees what is committed, and leaves nothing behind', async () => {
    await run(() => insert('committed'));
    const own = openRollbackSession<EntityManager>(world.app);
    expect(await own.session.count(Note)).toBe(1);
    await own.session.insert(Note, { text: 'undone' });
    expect(await run(() => session.count(Note))).toBe(1);
    await own.close();
    await own.close();
    expect(await world.savedTexts()).toEqual(['committed']);
    await expect(own.session.count(Note)).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
  });

  it('closes itself with await using, and knows its connection', async () => {
    {
      await using own = openRollbackSession(world.app);
      await own.session.insert(Note, { text: 'undone' });
      expect(world.pool().checkedOut).toBe(1);
    }
    expect(await world.savedTexts()).toEqual([]);
    expect(() => openRollbackSession(world.app, 'nope')).toThrow('There is no connection "nope"');
  });
});

describe('openTestContext()', () => {
  it('is joined by the test, by requests and by run(), none of which settles it', async () => {
    const context = openTestContext(world.app);
    await insert('of the test');
    expect((await post('/notes', { text: 'of a request' })).status).toBe(201);
    expect((await post('/notes', { text: 'of one that failed', fail: true })).status).toBe(422);
    await run(() => insert('of run()'));
    expect(await context.session().count(Note)).toBe(4);
    expect(await world.savedTexts()).toEqual([]);
    await context.close();
    expect(await world.savedTexts()).toEqual([]);
    expect(sent).toEqual([]);
    await expect(insert('afterwards')).rejects.toMatchObject({ code: 'DB_CONTEXT_NOT_ACTIVE' });
  });

  it('commits when the test says so, what was only persisted included', async () => {
    await using context = openTestContext(world.app);
    await post('/persisted', { text: 'persisted' });
    await context.commit();
    await insert('undone');
    expect(await world.savedTexts()).toEqual(['persisted']);
  });

  it('together with a shared transaction leaves nothing of what is committed', async () => {
    const db = await TestTransaction.begin(world.app);
    const context = openTestContext(world.app);
    await insert('of the test');
    await context.commit();
    await world.dbContext.atomic(() => insert('of a block'));
    await world.dbContext.runInNewContext(() => insert('of a new context'));
    expect(await db.session().count(Note)).toBe(3);
    await context.close();
    await db.end();
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('captureOnCommit()', () => {
  it('keeps the callbacks of what commits, and runs none', async () => {
    const callbacks = await captureOnCommit(world.app, async () => {
      await post('/notes', { text: 'a' });
      await post('/notes', { text: 'undone', fail: true });
      await run(async () => {
        world.dbContext.onCommit(() => insert('by a callback'));
        world.dbContext.onRollback(() => sent.push('never'));
      });
    });
    expect(sent).toEqual([]);
    expect(callbacks).toHaveLength(2);
    for (const callback of callbacks) {
      await callback();
    }
    expect(sent).toEqual(['a']);
    expect(await world.savedTexts()).toEqual(['a', 'by a callback']);
    await post('/notes', { text: 'not captured' });
    expect(sent).toEqual(['a', 'not captured']);
  });

  it('runs them with execute, those that they lead to included, and throws what they throw', async () => {
    await captureOnCommit(
      world.app,
      () =>
        run(async () => {
          world.dbContext.onCommit(() => {
            sent.push('first');
            world.dbContext.onCommit(() => sent.push('second'));
          });
        }),
      { execute: true },
    );
    expect(sent).toEqual(['first', 'second']);
    await expect(
      captureOnCommit(
        world.app,
        () => run(async () => world.dbContext.onCommit(() => Promise.reject(new Error('no mail')))),
        { execute: true },
      ),
    ).rejects.toThrow('no mail');
  });

  it('takes those of a test context, which never commits; without those of a savepoint undone', async () => {
    await using _ = openTestContext(world.app);
    await captureOnCommit(
      world.app,
      async () => {
        world.dbContext.onCommit(() => sent.push('kept'));
        const undone = world.dbContext.atomic(
          async () => {
            await insert('undone');
            world.dbContext.onCommit(() => sent.push('discarded'));
            throw new Error('as asked');
          },
          { current: 'savepoint' },
        );
        await expect(undone).rejects.toThrow('as asked');
      },
      { execute: true },
    );
    expect(sent).toEqual(['kept']);
  });
});

describe('recordContexts() and what expects', () => {
  it('records how contexts ended, and which connections they used', async () => {
    const ended = await recordContexts(world.app, async () => {
      await post('/notes', { text: 'a' });
      await post('/notes', { text: 'b', fail: true });
      await run(async () => undefined);
    });
    // The hook of the first one has a context of its own.
    expect(ended).toEqual([
      { outcome: 'committed', connections: [] },
      { outcome: 'committed', connections: ['default'] },
      { outcome: 'rolled-back', connections: ['default'] },
      { outcome: 'committed', connections: [] },
    ]);
  });

  it('demands an outcome', async () => {
    let count = 0;
    const good = (): Promise<unknown> => post('/notes', { text: `${++count}` });
    const bad = (): Promise<unknown> => post('/notes', { text: 'b', fail: true });
    await expectCommitted(world.app, good);
    await expectRolledBack(world.app, bad);
    await expect(expectCommitted(world.app, bad)).rejects.toThrow(AssertionError);
    await expect(expectRolledBack(world.app, good)).rejects.toThrow('1. committed (no session)');
    await expect(expectCommitted(world.app, () => undefined)).rejects.toThrow('none');
  });
});

describe('what fails in a recorder', () => {
  /** An event that is not as it should be, as those of a later version may be for an older one. */
  const broken = {} as never;
  const works: Record<string, (work: () => Promise<void>) => Promise<unknown>> = {
    'recordContexts()': (work) => recordContexts(world.app, work),
    'recordStatements()': (work) => recordStatements(world.app, work),
    'expectStatements()': (work) => expectStatements(world.app, { atMost: 5 }, work),
  };

  it.each(Object.keys(works))(
    'O1: fails the call of %s, and neither a request nor the process',
    async (name) => {
      const { contextEnd, statement } = dbContextChannels;
      const statuses: number[] = [];
      const recorded = works[name]!(async () => {
        contextEnd.publish(broken);
        statement.start.publish(
          Object.defineProperty({}, 'kind', { get: throwTypeError }) as never,
        );
        statuses.push((await post('/notes', { text: 'a' })).status);
        // An exception of a listener is thrown in a tick of its own.
        await setImmediate();
      });
      await expect(recorded).rejects.toThrow(TypeError);
      expect(statuses).toEqual([201]);
    },
  );

  it('O1: gives way to what the work itself throws', async () => {
    const recorded = recordContexts(world.app, () => {
      dbContextChannels.contextEnd.publish(broken);
      throw new RangeError('of the work');
    });
    await expect(recorded).rejects.toEqual(new RangeError('of the work'));
    await setImmediate();
  });
});

function throwTypeError(): never {
  throw new TypeError('no kind');
}

describe('expectStatements()', () => {
  const twice = (): Promise<Response> => world.fetch('/twice');

  it('passes what fits, and returns what the work returns', async () => {
    const response = await expectStatements(world.app, 2, twice);
    expect(await response.json()).toBe(0);
    await expectStatements(world.app, { atMost: 2 }, twice);
    await expectStatements(world.app, ['select count(*)', /where .* = 'x'/], twice);
    await expectStatements(world.app, [/^begin/, 'select', 'select', /^commit/], twice, {
      withTransactions: true,
    });
    await expectStatements(world.app, [], () =>
      run(async () => session.persist(new Note('x')).clear()),
    );
  });

  it('also in a shared transaction, where the application sees the same', async () => {
    const db = await TestTransaction.begin(world.app);
    await expectStatements(world.app, [/^begin/, 'select', 'select', /^commit/], twice, {
      withTransactions: true,
    });
    await db.end();
  });

  it.each<readonly [string, Parameters<typeof expectStatements>[1], string]>([
    [
      'more than the limit',
      { atMost: 1 },
      'Expected at most 1 statements, and 2 were sent:\n  1. select',
    ],
    ['another number', 3, 'Expected 3 statements, and 2 were sent'],
    ['others', ['select', 'insert'], 'these 2 statements: select | insert, and 2 were sent'],
    ['fewer', ['select', 'select', 'select'], 'and 2 were sent'],
  ])('refuses %s, and lists them', async (_, expected, message) => {
    const error: unknown = await expectStatements(world.app, expected, twice).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(AssertionError);
    expect((error as Error).message).toContain(message);
  });

  it('passes on what the work throws, and stops recording', async () => {
    await expect(
      recordStatements(world.app, () =>
        run(() => insert('x').then(() => Promise.reject(new Error('as asked')))),
      ),
    ).rejects.toThrow('as asked');
    await expectStatements(world.app, 2, twice);
  });
});

describe('expectNoOpenConnections()', () => {
  it('names the pool that is in use', async () => {
    await run(async () => {
      await insert('open');
      expect(() => expectNoOpenConnections(world.app)).toThrow(
        '"default": 1 in use, 0 waiting (pool of 5)',
      );
    });
    const db = await TestTransaction.begin(world.app);
    expectNoOpenConnections(world.app);
    await run(async () => {
      await insert('open as well');
      expect(() => expectNoOpenConnections(world.app)).toThrow('1 in use');
    });
    await db.end();
  });
});

describe('useTestTransaction()', () => {
  const db = useTestTransaction(() => world.app);

  it.each(['a first test', 'a second one'])('wraps %s', async () => {
    expect(await db.session().count(Note)).toBe(0);
    await post('/notes', { text: 'the same' });
    expect(await db.session().count(Note)).toBe(1);
    expect(db.openTransactions).toBe(0);
  });

  it('works with the hooks of any runner', async () => {
    const hooks = new RunnerHooks();
    const other = await startWorld();
    const own = useTestTransaction(() => other.app, hooks.options);
    expect(() => own.session()).toThrow(InvalidOptionsError);
    await hooks.run('beforeAll');
    await hooks.runTest(async () => {
      await other.dbContext.run(() => other.session().insert(Note, { text: 'undone' }));
      expect(await own.session().count(Note)).toBe(1);
    });
    await hooks.run('afterAll');
    expect(() => own.session()).toThrow('outside of a test');
    expect(await other.savedTexts()).toEqual([]);
    await other.close();
  });

  it('says what is missing where there are no hooks', () => {
    const { beforeEach: kept } = globalThis;
    try {
      delete (globalThis as { beforeEach?: unknown }).beforeEach;
      expect(() => useTestTransaction(() => world.app)).toThrow(
        'Give the ones of your test runner',
      );
    } finally {
      globalThis.beforeEach = kept;
    }
  });
});

describe('several connections', () => {
  it('are shared, recorded and asked for by name', async () => {
    const other = await startWorld(
      {},
      {
        connections: [
          noteConnection(world.database.url),
          noteConnection(world.database.url, { name: 'second' }),
        ],
      },
    );
    try {
      const db = await TestTransaction.begin(other.app);
      const both = (): Promise<unknown> =>
        other.dbContext.run(async () => {
          await other.session('second').insert(Note, { text: 'second' });
          await other.session().insert(Note, { text: 'first' });
        });
      await expectCommitted(other.app, () => expectStatements(other.app, 2, both));
      expect(await db.session('second').find(Note, {})).toMatchObject([{ text: 'second' }]);
      expect(await db.session().find(Note, {})).toMatchObject([{ text: 'first' }]);
      expect(() => db.session('third')).toThrow('There is no connection "third"');
      await db.end();

      const one = await TestTransaction.begin(other.app, { committing: ['default'] });
      await both();
      await one.end();
      expect(await world.savedTexts()).toEqual(['first']);
      await expect(TestTransaction.begin(other.app, { connections: ['third'] })).rejects.toThrow(
        'There is no connection "third"',
      );
    } finally {
      await other.close();
    }
  });
});
