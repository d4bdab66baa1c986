import { TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, HttpException, Post } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';

import { TestIsolationError, TestTransaction } from 'nestjs-db-context/testing';
import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('notes')
  add(@Body() { text, fail }: { text: string; fail?: boolean }): string {
    this.session.persist(new Note(text));
    if (fail === true) {
      throw new HttpException('as asked', 422);
    }
    return text;
  }

  @Post('audited')
  async audited(@Body() { text, fail }: { text: string; fail?: boolean }): Promise<string> {
    await this.dbContext.runInNewContext(() =>
      this.session.insert(Note, { text: `audit of ${text}` }),
    );
    await this.session.insert(Note, { text });
    if (fail === true) {
      throw new HttpException('as asked', 422);
    }
    return 'done';
  }
}

let world: TestWorld;
let session: EntityManager;
let db: TestTransaction;

beforeAll(async () => {
  world = await startWorld(
    {
      acquireTimeoutMs: 1_000,
      sessionVariables: (cls) => {
        const tenant = cls.get<string | undefined>('tenant');
        return tenant === undefined ? {} : { 'app.tenant': tenant };
      },
    },
    { controllers: [NoteController] },
  );
  session = world.session();
  await world.database.query(`
    create table pair (id int primary key, other int references pair deferrable initially deferred);
    create table later (id int primary key, other int references pair deferrable initially immediate);
    create table trail (text text);
    create function leave_trail() returns trigger language plpgsql as
      $$ begin insert into trail values ('of ' || new.id); return null; end $$;
    create constraint trigger leaves_trail after insert on later deferrable initially deferred
      for each row execute function leave_trail();`);
});
afterAll(() => world.close());

beforeEach(async () => {
  db = await TestTransaction.begin(world.app);
});
afterEach(async () => {
  await db.end();
  expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  expect(await world.savedTexts()).toEqual([]);
  expect(await world.database.query('select * from pair')).toEqual([]);
});

const texts = async (): Promise<string[]> =>
  (await db.session().find(Note, {}, { orderBy: { id: 'asc' } })).map(({ text }) => text);
const insert = (text: string, em: EntityManager = session): Promise<unknown> =>
  em.insert(Note, { text });
const run = <T>(callback: () => Promise<T>): Promise<T> => world.dbContext.run(callback);
const post = (path: string, body: object): Promise<Response> =>
  world.fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const fail = (): never => {
  throw new Error('as asked');
};

describe('requests in a shared test transaction', () => {
  it('see what the test prepared, and the test sees what they committed', async () => {
    const em = db.session();
    em.persist(new Note('prepared'));
    await em.flush();
    expect((await post('/notes', { text: 'added' })).status).toBe(201);
    expect((await post('/notes', { text: 'undone', fail: true })).status).toBe(422);
    expect(await texts()).toEqual(['prepared', 'added']);
    expect(await run(() => session.count(Note))).toBe(2);
    // Nobody else sees any of it.
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F7, T1: are not reset between, which would end the transaction of the test', async () => {
    world.proxy.reset();
    await run(async () => {
      await insert('written before');
      await session.execute(`set app.tenant = 'a'`);
    });
    await run(() => insert('written after'));
    expect(await texts()).toEqual(['written before', 'written after']);
    expect(world.proxy.log).not.toContain('discard all');
  });

  it('take turns where they run at the same time', async () => {
    const statuses = await Promise.all(
      Array.from({ length: 20 }, (_, i) => post('/notes', { text: `${i}`, fail: i % 2 === 0 })),
    );
    expect(statuses.map(({ status }) => status)).toEqual(
      Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 422 : 201)),
    );
    expect((await texts()).toSorted()).toEqual(
      Array.from({ length: 10 }, (_, i) => `${2 * i + 1}`).toSorted(),
    );
  });

  it('and what they do in a new context before their own work, also if that fails', async () => {
    expect((await post('/audited', { text: 'a' })).status).toBe(201);
    expect((await post('/audited', { text: 'b', fail: true })).status).toBe(422);
    expect(await texts()).toEqual(['audit of a', 'a', 'audit of b']);
  });
});

describe('control in a shared test transaction', () => {
  it('early commit, rollback and close', async () => {
    await run(async () => {
      await insert('committed');
      await world.dbContext.commit();
      await insert('rolled back');
      await world.dbContext.rollback();
      await insert('closed');
      await world.dbContext.close();
      await insert('undone at the end');
      fail();
    }).catch(() => undefined);
    expect(await texts()).toEqual(['committed']);
  });

  it.each(['commit', 'rollback', 'append', 'raise', 'savepoint'] as const)(
    'atomic() with current: %s',
    async (current) => {
      const isOpen = current !== 'raise';
      await run(async () => {
        if (isOpen) {
          await insert('before');
        }
        await world.dbContext.atomic(() => insert('block'), { current });
        await world.dbContext
          .atomic(() => insert('undone').then(fail), { current: 'savepoint' })
          .catch(() => undefined);
        await insert('after');
      });
      const before = isOpen && current !== 'rollback' ? ['before'] : [];
      expect(await texts()).toEqual([...before, 'block', 'after']);
    },
  );

  it('a new context inside of a transaction, in every way that both can end', async () => {
    await run(async () => {
      await insert('outer');
      await world.dbContext.runInNewContext(() => insert('inner'));
      await world.dbContext
        .runInNewContext(() => insert('undone').then(fail))
        .catch(() => undefined);
      await world.dbContext.newAtomicSession((em: EntityManager) => insert('own', em));
      await world.dbContext.newSession((em: EntityManager) => insert('undone', em));
      await session.transactional((em) => insert('required new', em), {
        propagation: TransactionPropagation.REQUIRES_NEW,
      });
      await insert('outer again');
    });
    expect(await texts()).toEqual(['outer', 'inner', 'own', 'required new', 'outer again']);
    await run(async () => {
      await insert('undone');
      await world.dbContext.runInNewContext(() => session.count(Note));
      fail();
    }).catch(() => undefined);
    expect(await texts()).toHaveLength(5);
  });

  it('several new contexts at the same time', async () => {
    await run(async () => {
      await insert('outer');
      await Promise.all(
        ['a', 'b', 'c'].map((text) => world.dbContext.runInNewContext(() => insert(text))),
      );
      await Promise.all([
        insert('d'),
        world.dbContext.runInNewContext(() => insert('e')),
        insert('f'),
      ]);
    });
    expect((await texts()).toSorted()).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'outer']);
  });

  it('hooks run as in production, in contexts of their own', async () => {
    const calls: string[] = [];
    await run(async () => {
      await insert('work');
      world.dbContext.beforeCommit(() => insert('before commit'));
      world.dbContext.onCommit(async () => {
        calls.push('committed');
        await insert('on commit');
      });
    });
    await run(async () => {
      await insert('undone');
      world.dbContext.onRollback(() => insert('on rollback'));
      fail();
    }).catch(() => undefined);
    expect(calls).toEqual(['committed']);
    expect(await texts()).toEqual(['work', 'before commit', 'on commit', 'on rollback']);
  });

  it('a failed statement whose error is swallowed still refuses the commit', async () => {
    await expect(
      run(async () => {
        await insert('lost');
        await session.execute('select 1 / 0').catch(() => undefined);
      }),
    ).rejects.toMatchObject({ code: 'UNEXPECTED_ROLLBACK' });
    expect(await texts()).toEqual([]);
  });

  it('a read-only transaction refuses to write, and the next one does not', async () => {
    const write = "insert into note (text) values ('no')";
    const error: unknown = await run(() =>
      world.dbContext.atomic(() => session.execute(write), { readOnly: true }),
    ).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: '25006' });
    await run(() => insert('yes'));
    expect(await texts()).toEqual(['yes']);
  });
});

describe('what ends with a transaction', () => {
  const show = async (name: string): Promise<string | null> => {
    const [row] = await session.execute<{ value: string | null }[]>(
      'select current_setting(?, true) as value',
      [name],
    );
    return row!.value;
  };

  it('variables, role, and settings by SET LOCAL go with a commit and with a rollback', async () => {
    const { dbContext } = world;
    await run(() =>
      dbContext.atomic(
        async () => {
          expect(await show('app.tenant')).toBe('a');
          expect(await show('lock_timeout')).toBe('70ms');
          await session.execute("set local work_mem = '5MB'");
          await session.execute("select set_config('app.more', 'more', true)");
          expect(await show('work_mem')).toBe('5MB');
        },
        { sessionVariables: { 'app.tenant': 'a' }, lockTimeoutMs: 70 },
      ),
    );
    await run(async () => {
      expect(await show('app.tenant')).toBe('');
      expect(await show('app.more')).toBe('');
      expect(await show('lock_timeout')).toBe('0');
      expect(await show('work_mem')).not.toBe('5MB');
    });
  });

  it('deferred constraints are checked at each commit', async () => {
    await run(async () => {
      await session.execute('insert into pair values (1, 2)');
      await session.execute('insert into pair values (2, 1)');
    });
    await expect(
      run(() => session.execute('insert into pair values (3, 4)')),
    ).rejects.toMatchObject({
      code: '23503',
    });
    // Deferred again for the next one; what is immediate by default has stayed so.
    await run(async () => {
      await session.execute('insert into pair values (5, 6)');
      await session.execute('insert into pair values (6, 5)');
    });
    await expect(
      run(() => session.execute('insert into later values (1, 9)')),
    ).rejects.toMatchObject({
      code: '23503',
    });
    const [row] = await db.session().execute('select count(*)::int as n from pair');
    expect(row).toEqual({ n: 4 });
  });

  it('deferred triggers do their work at each commit', async () => {
    await run(() => session.execute('insert into later values (7, null)'));
    const rows = await db.session().execute('select text from trail');
    expect(rows).toEqual([{ text: 'of 7' }]);
  });
});

describe('what runs past the sessions', () => {
  it('forks and the global entity manager are part of it as well', async () => {
    const { orm } = world.connection();
    await run(() => insert('by the session'));
    const global = orm.em.fork() as EntityManager;
    expect(await global.count(Note)).toBe(1);
    await global.transactional((em) => insert('by a transaction', em));
    await insert('by a statement', global);
    await expect(global.execute('select 1 / 0')).rejects.toThrow('division by zero');
    await run(async () => {
      await insert('outer');
      expect(await session.fork().count(Note)).toBe(4);
    });
    expect(await texts()).toHaveLength(4);
  });
});

describe('the pool itself', () => {
  interface RawPool {
    query(sql: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
    query(query: { text: string; values: unknown[] }): Promise<{ rows: unknown[] }>;
    connect(): Promise<{ query(query: object): unknown; release(): void }>;
  }
  const pool = async (): Promise<RawPool> =>
    (await world.connection().pool()) as unknown as RawPool;

  it('gives out parts as well, in all forms that pg takes', async () => {
    await run(() => insert('seen'));
    const raw = await pool();
    const sql = 'select count(*)::int as n from note where text = $1';
    expect((await raw.query(sql, ['seen'])).rows).toEqual([{ n: 1 }]);
    expect((await raw.query({ text: sql, values: ['seen'] })).rows).toEqual([{ n: 1 }]);
    await expect(raw.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' });
    expect((await raw.query(sql, ['seen'])).rows).toEqual([{ n: 1 }]);
  });

  it('answers COMMIT of a failed transaction with ROLLBACK, as PostgreSQL does', async () => {
    const client = await (await pool()).connect();
    await client.query({ text: 'begin' });
    await client.query({ text: "insert into note (text) values ('lost')" });
    // The error may come in a packet of its own, before the status of the transaction.
    const ready = deferred();
    world.proxy.onErrorAnswer = () => ready.promise;
    await expect(client.query({ text: 'select 1 / 0' })).rejects.toThrow('division by zero');
    const commit = client.query({ text: 'commit' });
    ready.resolve();
    expect(await commit).toMatchObject({ command: 'ROLLBACK' });
    client.release();
    expect(await texts()).toEqual([]);
  });

  it('undoes what a client left open, and refuses cursors that keep a connection', async () => {
    const client = await (await pool()).connect();
    await client.query({ text: 'begin' });
    await client.query({ text: "insert into note (text) values ('left open')" });
    client.release();
    expect(await texts()).toEqual([]);
    expect(() => client.release()).toThrow('already been released');
    const other = await (await pool()).connect();
    await expect(other.query({ submit: () => undefined })).rejects.toBeInstanceOf(
      TestIsolationError,
    );
    other.release();
  });

  it('is itself again afterwards', async () => {
    await db.end();
    const raw = await pool();
    const connect = (): unknown => Reflect.get(raw, 'connect');
    const own = connect();
    db = await TestTransaction.begin(world.app);
    expect(connect()).not.toBe(own);
    await db.end();
    expect(connect()).toBe(own);
    await raw.query("insert into note (text) values ('really saved')");
    expect(await world.savedTexts()).toEqual(['really saved']);
    await raw.query('truncate note');
    db = await TestTransaction.begin(world.app);
  });
});

describe('what a shared transaction cannot show', () => {
  it('a rollback around what an inner context committed refuses what follows', async () => {
    await run(async () => {
      await insert('outer');
      await world.dbContext.runInNewContext(() => insert('inner'));
      fail();
    }).catch(() => undefined);
    await expect(texts()).rejects.toBeInstanceOf(TestIsolationError);
    await expect(run(() => insert('never'))).rejects.toMatchObject({ code: 'TEST_ISOLATION' });
  });

  it('so does one around a statement of the test, or one that commits by itself', async () => {
    const statements = [() => insert('test', db.session()), () => insert('fork', session.fork())];
    for (const statement of statements) {
      await run(async () => {
        await insert('outer');
        await statement();
        fail();
      }).catch(() => undefined);
      await expect(texts()).rejects.toBeInstanceOf(TestIsolationError);
      await db.end();
      db = await TestTransaction.begin(world.app);
    }
  });

  it('two transactions that wait for one another get an error', async () => {
    const second = deferred();
    const first = run(async () => {
      await insert('first');
      await second.promise;
    });
    await expect(
      run(async () => {
        await insert('second');
        second.resolve();
      }),
    ).rejects.toMatchObject({
      code: 'TEST_ISOLATION',
      message: expect.stringContaining('take turns'),
    });
    second.resolve();
    await first;
  });

  it('a second one on the same connection is refused', async () => {
    await expect(TestTransaction.begin(world.app)).rejects.toThrow('has begun already');
  });

  it('work that nobody awaited is reported at the end, and never reaches the pool', async () => {
    const mayGoOn = deferred();
    const late = run(async () => {
      await insert('early');
      await mayGoOn.promise;
      await insert('late');
    }).catch((error: unknown) => error);
    await waitUntilOpen();
    await expect(db.end()).rejects.toThrow('still open');
    mayGoOn.resolve();
    expect(await late).toMatchObject({ code: 'TEST_ISOLATION' });
    db = await TestTransaction.begin(world.app);
  });

  const waitUntilOpen = async (): Promise<void> => {
    while (db.openTransactions === 0) {
      await texts();
    }
  };
});
