import { Controller, Get, Post } from '@nestjs/common';
import { LockMode, type EntityManager } from '@mikro-orm/postgresql';
import {
  DbTransaction,
  InjectSession,
  InvalidOptionsError,
  SessionClosedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';
import { CompiledQuery } from 'kysely';
import { ClsServiceManager } from 'nestjs-cls';

import { TestTransaction } from 'nestjs-db-context/testing';

import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const FIRST_WRITE = { transaction: { begin: 'first-write' } } as const;
const READ = /^begin isolation level read committed read only;select [\s\S]*;commit$/;
const BEGIN = 'begin isolation level read committed';
/** The check of a domain is code that no catalogue shows to belong to a read. */
const SLOW_TEXT = "create domain slow_text as text check (value || pg_sleep(30)::text <> 'a')";
const SLEEP = "select 'b'::slow_text as slept";

describe('begin: first-write', () => {
  const at = useWorld(() => startWorld({ ...FIRST_WRITE, drainTimeoutMs: 200 }));
  const messages = (): string[] => [...at.world.proxy.messages];
  const roundTrips = async (work: () => Promise<unknown>): Promise<number> => {
    await at.run(() => at.session.find(Note, {}));
    at.world.proxy.reset();
    await at.run(work);
    return at.world.proxy.roundTrips;
  };

  it('one read takes 1 round trip, and read-modify-write 3', async () => {
    expect(await roundTrips(() => at.session.find(Note, {}))).toBe(1);
    expect(messages()).toEqual([expect.stringMatching(READ)]);
    await at.run(() => at.insert('a'));
    expect(
      await roundTrips(async () => {
        const note = await at.session.findOneOrFail(Note, { text: 'a' });
        note.text = 'b';
      }),
    ).toBe(3);
    expect(messages()).toEqual([
      expect.stringMatching(READ),
      expect.stringMatching(new RegExp(`^${BEGIN};update`)),
      'commit',
    ]);
    expect(await at.world.savedTexts()).toEqual(['b']);
  });

  it('L3: no connection is held between reads, nor at the end of them', async () => {
    await at.run(async () => {
      await at.session.find(Note, {});
      expect(at.world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
      await Promise.all(Array.from({ length: 20 }, () => at.session.find(Note, {})));
      // One at a time, also in parallel.
      expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
      await at.insert('a');
      expect(at.world.pool()).toMatchObject({ checkedOut: 1 });
      await at.session.find(Note, { text: 'x' });
    });
    expect(messages().slice(-3)).toEqual([
      expect.stringMatching(new RegExp(`^${BEGIN};insert`)),
      expect.stringMatching(/^select/),
      'commit',
    ]);
  });

  it('L3: from the first write on, all is one transaction; early commits begin anew', async () => {
    await at.run(async () => {
      await at.session.find(Note, {});
      const first = await at.xid();
      await at.session.find(Note, {});
      expect(await at.xid()).toBe(first);
      await at.session.commit();
      at.world.proxy.reset();
      await at.session.find(Note, {});
      expect(messages()).toEqual([expect.stringMatching(READ)]);
    });
  });

  it('a read sees what the transaction wrote before, also where nobody awaited the write', async () => {
    await at.run(async () => {
      const [, found] = await Promise.all([at.insert('a'), at.session.find(Note, {})]);
      expect(found).toHaveLength(1);
    });
  });

  it('a read that came before a write does not see it', async () => {
    await at.run(async () => {
      const [found] = await Promise.all([
        at.session.execute('select text from note'),
        at.session.execute("insert into note (text) values ('a')"),
      ]);
      expect(found).toHaveLength(0);
    });
    expect(await at.world.savedTexts()).toEqual(['a']);
  });

  it.each([
    ['locks', (em: EntityManager) => em.find(Note, {}, { lockMode: LockMode.PESSIMISTIC_WRITE })],
    ['calls what may lock', (em: EntityManager) => em.execute('select pg_advisory_xact_lock(1)')],
    [
      'has parameters',
      (em: EntityManager) =>
        em
          .getKysely()
          .selectFrom('note' as never)
          .selectAll()
          .where('text' as never, '=', 'x' as never)
          .execute(),
    ],
    ['begins by hand', (em: EntityManager) => em.begin()],
    ['sets a savepoint', (em: EntityManager) => em.transactional((inner) => inner.find(Note, {}))],
  ])('a statement that %s begins the transaction', async (_, work) => {
    await at.run(async () => {
      await work(at.session);
      expect(at.world.proxy.log[0]).toBe(BEGIN);
      expect(at.world.proxy.log).not.toContain('commit');
      expect(at.world.pool()).toMatchObject({ checkedOut: 1 });
    });
    expect(at.world.proxy.log.at(-1)).toBe('commit');
  });

  it('a cursor begins it, and goes on in it', async () => {
    await at.run(async () => {
      await at.insert('a');
      await at.session.commit();
      at.world.proxy.reset();
      const texts: string[] = [];
      for await (const note of at.session.stream(Note)) {
        texts.push(note.text);
      }
      expect(texts).toEqual(['a']);
      expect(at.world.proxy.log[0]).toBe(BEGIN);
    });
  });

  it('a view that the catalogue did not know writes: it is refused by the server, and read again in the transaction', async () => {
    await at.run(() => at.session.count(Note));
    await at.world.database.query(`
      create function note_down() returns int language sql volatile as
        $$ insert into note (text) values ('by a view ' || clock_timestamp()) returning id $$;
      create view writing as select note_down() as id`);
    await at.run(async () => {
      expect(await at.session.execute('select * from writing')).toHaveLength(1);
      expect(at.world.pool()).toMatchObject({ checkedOut: 1 });
    });
    expect(await at.world.savedTexts()).toHaveLength(1);
    await expect(
      at.run(async () => {
        await at.session.execute('select * from writing');
        throw new Error('undone');
      }),
    ).rejects.toThrow('undone');
    expect(await at.world.savedTexts()).toHaveLength(1);
  });

  it('F1: a read that fails throws, loses no connection, and makes nothing after it fail', async () => {
    await at.run(async () => {
      await expect(at.session.execute('select 1 / 0 as x')).rejects.toMatchObject({
        code: '22012',
      });
      await expect(at.session.execute('select nothing from note')).rejects.toMatchObject({
        code: '42703',
        position: '8',
      });
      await expect(at.session.execute('select (')).rejects.toMatchObject({ code: '42601' });
      expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
      await at.insert('saved');
    });
    expect(await at.world.savedTexts()).toEqual(['saved']);
  });

  it('a statement of 8 MB begins the transaction, and fails with the error of the server', async () => {
    const sql = `select 1 / 0, '${'x'.repeat(2 ** 23)}'`;
    await at.run(async () => {
      await expect(
        at.session.getKysely().executeQuery(CompiledQuery.raw(sql)),
      ).rejects.toMatchObject({ code: '22012' });
      expect(at.world.proxy.log[0]).toBe(BEGIN);
      await at.session.rollback();
    });
  });

  it('F1: a link that is cut during a read costs no slot; the next read takes another connection', async () => {
    await at.run(async () => {
      await at.session.find(Note, {});
      const [{ pid }] = (await at.world.database.query<{ pid: number }>(
        `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
      )) as [{ pid: number }];
      const sleeping = at.session.execute(SLEEP);
      sleeping.catch(() => undefined);
      await waitFor(
        async () =>
          (
            await at.world.database.query(
              `select 1 from pg_stat_activity where pid = ${pid} and query like '%slow_text%' and state = 'active'`,
            )
          ).length === 1,
        { what: 'the read to run' },
      );
      await at.world.database.query(`select pg_terminate_backend(${pid})`);
      await expect(sleeping).rejects.toMatchObject({ code: '57P01' });
      expect(at.world.pool()).toMatchObject({ checkedOut: 0 });
      expect(await at.session.count(Note)).toBe(0);
    });
  });

  it('F3: a read that nobody awaited and that outlives the drain fails, and the end says so', async () => {
    let late: Promise<unknown> | undefined;
    await expect(
      at.run(async () => {
        late = at.session.execute(SLEEP);
        late.catch(() => undefined);
        await waitFor(
          async () =>
            (
              await at.world.database.query(
                `select 1 from pg_stat_activity
                 where query like '%slow_text%' and state = 'active'
                   and pid <> pg_backend_pid()`,
              )
            ).length === 1,
          { what: 'the read to run' },
        );
      }),
    ).rejects.toBeInstanceOf(UnexpectedRollbackError);
    await expect(late).rejects.toMatchObject({
      constructor: SessionClosedError,
      code: 'SESSION_CLOSED',
    });
    await expect(
      at.run(async () => at.session.getContext(false)).then((em) => em.count(Note)),
    ).rejects.toBeInstanceOf(SessionClosedError);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  beforeAll(() => at.world.database.query(SLOW_TEXT));
});

describe('begin: first-write, with a limit on the transaction', () => {
  const at = useWorld(() => startWorld({ ...FIRST_WRITE, transactionTimeoutMs: 200 }));

  it('F6: a read that hangs is given up after transactionTimeoutMs', async () => {
    await at.world.database.query(SLOW_TEXT);
    await expect(at.run(() => at.session.execute(SLEEP))).rejects.toBeInstanceOf(
      TransactionTimeoutError,
    );
  });
});

describe('begin: first-write, with variables and a role', () => {
  const cls = ClsServiceManager.getClsService();
  const at = useWorld(() =>
    startWorld({
      ...FIRST_WRITE,
      poolMax: 1,
      sessionVariables: async (store) => ({
        'app.tenant': await Promise.resolve(store.get<string>('tenant')),
      }),
    }),
  );
  const runAs = <T>(tenant: string, callback: () => Promise<T>): Promise<T> =>
    cls.runWith({ tenant } as never, () => at.run(callback));

  it('C7, F3: reads of two tenants over one connection see their own variables', async () => {
    await runAs('t0', () => at.session.count(Note));
    at.world.proxy.reset();
    const names = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        runAs(`t${index % 2}`, async () => {
          const rows = await at.session.execute<{ name: string }[]>(
            "select current_setting('app.tenant') as name",
          );
          return rows[0]!.name;
        }),
      ),
    );
    expect(names).toEqual(names.map((_, index) => `t${index % 2}`));
    expect(at.world.proxy.messages).toHaveLength(40);
    expect(new Set(at.world.proxy.messages).size).toBe(2);
  });

  it('variables that are computed with the session are refused with a clear error', async () => {
    const other = await startWorld({
      ...FIRST_WRITE,
      sessionVariables: async () => ({ 'app.count': await other.session().count(Note) }),
    });
    try {
      await expect(other.dbContext.run(() => other.session().find(Note, {}))).rejects.toMatchObject(
        {
          message: expect.stringContaining('used the session whose transaction'),
        },
      );
    } finally {
      await other.close();
    }
  });
});

@Controller()
class NotesController {
  constructor(@InjectSession() private readonly em: EntityManager) {}

  @DbTransaction({ begin: 'first-write' })
  @Get('count')
  async count(): Promise<number> {
    return this.em.count(Note);
  }

  @DbTransaction({ begin: 'first-write', readOnly: true })
  @Get('read-only')
  async readOnly(): Promise<number> {
    await this.em.count(Note);
    return this.em
      .execute('select note_down()')
      .catch((error: { code: string }) => error.code) as never;
  }

  @Post('count')
  async plain(): Promise<number> {
    return this.em.count(Note);
  }
}

describe('begin: first-write, elsewhere', () => {
  const at = useWorld(() => startWorld({}, { controllers: [NotesController] }));

  it('is chosen by a route, and by a block', async () => {
    await at.world.fetch('/count');
    at.world.proxy.reset();
    await at.world.fetch('/count');
    expect([...at.world.proxy.messages]).toEqual([expect.stringMatching(READ)]);
    at.world.proxy.reset();
    await at.world.fetch('/count', { method: 'POST' });
    expect([...at.world.proxy.messages]).toEqual([
      expect.stringMatching(/^begin;select/),
      'commit',
    ]);
    at.world.proxy.reset();
    await at.run(() => at.dbContext.atomic(() => at.session.count(Note), { begin: 'first-write' }));
    expect([...at.world.proxy.messages]).toEqual([expect.stringMatching(READ)]);
  });

  it('changes nothing at a level that has one snapshot for all statements', async () => {
    await at.run(() =>
      at.dbContext.atomic(() => at.session.count(Note), {
        begin: 'first-write',
        isolationLevel: 'repeatable read',
      }),
    );
    expect(at.world.proxy.log[0]).toBe('begin isolation level repeatable read');
  });

  it('H2: beforeSession runs before each read, too', async () => {
    let calls = 0;
    const world = await startWorld({ ...FIRST_WRITE, beforeSession: () => void calls++ });
    try {
      await world.dbContext.run(async () => {
        await world.session().count(Note);
        await world.session().count(Note);
        expect(calls).toBe(2);
      });
    } finally {
      await world.close();
    }
  });

  it('C7: has no effect where a subscriber sets what reads depend on', async () => {
    const world = await startWorld(FIRST_WRITE);
    try {
      world
        .connection()
        .orm.em.getEventManager()
        .registerSubscriber({
          afterTransactionStart: async ({ em }) => {
            await (em as EntityManager).execute("select set_config('app.tenant', 't1', true)");
          },
        });
      await world.database.query(
        "create view tenant as select current_setting('app.tenant', true) as name",
      );
      const rows = await world.dbContext.run(() =>
        world.session().execute<{ name: string }[]>('select name from tenant'),
      );
      expect(rows).toEqual([{ name: 't1' }]);
      expect(world.proxy.log[0]).toBe(BEGIN);
    } finally {
      await world.close();
    }
  });

  it('refuses what it does not know', async () => {
    await expect(
      at.run(() => at.dbContext.atomic(() => 1, { begin: 'later' as never })),
    ).rejects.toBeInstanceOf(InvalidOptionsError);
  });

  it('takes part in a shared test transaction', async () => {
    const transaction = await TestTransaction.begin(at.world.app);
    try {
      await at.run(async () => {
        await at.dbContext.atomic(
          async () => {
            expect(await at.session.count(Note)).toBe(0);
            await at.insert('in a test');
            expect(await at.session.count(Note)).toBe(1);
          },
          { begin: 'first-write' },
        );
      });
      expect(await at.run(() => at.session.count(Note))).toBe(1);
    } finally {
      await transaction.end();
    }
    expect(await at.world.savedTexts()).toEqual([]);
  });
});
