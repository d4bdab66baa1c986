import { randomUUID } from 'node:crypto';

import { LockMode, TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Injectable, Post, UseGuards, type CanActivate } from '@nestjs/common';
import {
  ContextSettingsError,
  DbTransaction,
  InjectSession,
  InvalidOptionsError,
  InvalidTransactionStateError,
  ReadOnlyTransactionError,
  UnexpectedRollbackError,
  type TransactionSettings,
} from 'nestjs-db-context';
import { ClsServiceManager } from 'nestjs-cls';

import { Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const ROLE = `role_${randomUUID().replaceAll('-', '')}`;
const cls = ClsServiceManager.getClsService();

let world: TestWorld;
let session: EntityManager;

const run = <T>(callback: () => Promise<T>): Promise<T> => world.dbContext.run(callback);
const runAs = <T>(tenant: string, callback: () => Promise<T>): Promise<T> =>
  cls.runWith({ tenant } as never, () => run(callback));
const show = async (name: string, em: EntityManager = session): Promise<string | null> => {
  const [row] = await em.execute<{ value: string | null }[]>(
    'select current_setting(?, true) as value',
    [name],
  );
  return row!.value;
};
const insert = (text: string): Promise<unknown> => session.insert(Note, { text });
const begins = (): string[] => world.proxy.log.filter((sql) => sql.startsWith('begin'));
const one = async (sql: string): Promise<unknown> => {
  const [row] = await session.execute<Record<string, unknown>[]>(sql);
  return Object.values(row!)[0];
};

function use(start: () => Promise<TestWorld>): void {
  const shared = useWorld(start);
  beforeAll(() => {
    ({ world, session } = shared);
  });
}

/** Begins the transaction of its request before the route is known. */
@Injectable()
class ReadingGuard implements CanActivate {
  constructor(@InjectSession() private readonly em: EntityManager) {}

  async canActivate(): Promise<boolean> {
    return (await this.em.count(Note)) >= 0;
  }
}

@DbTransaction({ isolationLevel: 'repeatable read', sessionVariables: { 'app.of': 'class' } })
@Controller()
class RouteController {
  constructor(@InjectSession() private readonly em: EntityManager) {}

  @Get('of-class')
  ofClass(): Promise<unknown> {
    return this.#settings();
  }

  @DbTransaction({ readOnly: true, sessionVariables: { 'app.more': 'method' } })
  @Get('of-method')
  async ofMethod(): Promise<unknown> {
    const before = await this.#settings();
    await this.em.commit();
    return { before, after: await this.#settings() };
  }

  @DbTransaction({ readOnly: true })
  @Post('refused')
  refused(): void {
    this.em.persist(new Note('never'));
  }

  @UseGuards(ReadingGuard)
  @Get('guarded')
  guarded(): Promise<unknown> {
    return this.#settings();
  }

  async #settings(): Promise<unknown> {
    const [row] = await this.em.execute<unknown[]>(
      `select current_setting('transaction_isolation') as isolation,
              current_setting('transaction_read_only') as read_only,
              current_setting('app.of', true) as of,
              current_setting('app.more', true) as more`,
    );
    return row;
  }
}

describe('settings of a connection', () => {
  use(() =>
    startWorld({
      poolMax: 1,
      transaction: {
        isolationLevel: 'repeatable read',
        readOnly: false,
        deferrable: true,
        statementTimeoutMs: 2_000,
        lockTimeoutMs: 100,
        idleTimeoutMs: 3_000,
        sessionVariables: { 'app.number': 1.5, 'app.flag': true, 'app.date': new Date(0) },
      },
      sessionVariables: async (store) => ({
        'app.tenant': await Promise.resolve(store.get<string>('tenant')),
      }),
      role: (store) => store.get('role'),
    }),
  );

  it('C7: begin in the message of the first statement of the code', async () => {
    await runAs('a', async () => {
      expect(world.proxy.log).toEqual([]);
      await session.execute('select 1');
    });
    const settings = [
      'statement_timeout',
      'lock_timeout',
      'idle_in_transaction_session_timeout',
      'app.number',
      'app.flag',
      'app.date',
      'app.tenant',
    ];
    const calls = settings.map((name) => String.raw`set_config\('${name}', '[^']+', true\)`);
    expect(world.proxy.log).toEqual([
      'begin isolation level repeatable read read write deferrable',
      expect.stringMatching(new RegExp(`^select ${calls.join(', ')};select 1$`)),
      'commit',
    ]);
  });

  it('C7: the server has all of them', async () => {
    await runAs('a', async () => {
      expect(await show('transaction_isolation')).toBe('repeatable read');
      expect(await show('transaction_deferrable')).toBe('on');
      expect(await show('statement_timeout')).toBe('2s');
      expect(await show('lock_timeout')).toBe('100ms');
      expect(await show('idle_in_transaction_session_timeout')).toBe('3s');
      expect(await show('app.number')).toBe('1.5');
      expect(await show('app.flag')).toBe('true');
      expect(await show('app.date')).toBe('1970-01-01T00:00:00.000Z');
      expect(await show('app.tenant')).toBe('a');
    });
  });

  it.each(["o'brien", "'; drop table note; --", '$1', '"quoted"', '\\', '', 'ü\n', '%s ?'])(
    'C7: the value %j arrives as it is',
    async (tenant) => {
      await runAs(tenant, async () => expect(await show('app.tenant')).toBe(tenant));
    },
  );

  it('C7: nothing is left for the next user of the same backend', async () => {
    const pids = new Set<unknown>();
    for (const commits of [true, false]) {
      const error = await runAs('secret', async () => {
        pids.add(await one('select pg_backend_pid()'));
        expect(await show('app.tenant')).toBe('secret');
        if (!commits) {
          throw new Error('rolls back');
        }
      }).catch((reason: Error) => reason.message);
      expect(error).toBe(commits ? undefined : 'rolls back');
      // past the session, on the one connection of the pool
      const [row] = await world
        .connection()
        .orm.em.fork()
        .getConnection()
        .execute<Record<string, unknown>[]>(
          `select pg_backend_pid() as pid, current_setting('app.tenant') as tenant,
                  current_setting('statement_timeout') as timeout, current_user = session_user as own`,
        );
      pids.add(row!['pid']);
      expect(row).toMatchObject({ tenant: '', timeout: '0', own: true });
    }
    expect(pids.size).toBe(1);
  });

  it('C7: what a handler puts into the store counts when the transaction begins, also for a flush', async () => {
    await runAs('early', async () => {
      cls.set('tenant', 'late');
      session.persist(new Note('by the flush'));
      await world.dbContext.commit();
      expect(await show('app.tenant')).toBe('late');
    });
    expect(await world.savedTexts()).toEqual(['by the flush']);
  });

  it('C7: each new transaction computes them anew', async () => {
    await runAs('a', async () => {
      expect(await show('app.tenant')).toBe('a');
      cls.set('tenant', 'b');
      expect(await show('app.tenant')).toBe('a');
      await session.rollback();
      expect(await show('app.tenant')).toBe('b');
    });
  });

  it('C7: a lock that is not given in time fails with 55P03', async () => {
    await world.database.query("insert into note (text) values ('locked')");
    const holds = await startApp({
      connections: [noteConnection(world.database.url, { poolMax: 1 })],
    });
    await holds.dbContext.run(async () => {
      await holds.session().find(Note, {}, { lockMode: LockMode.PESSIMISTIC_WRITE });
      await expect(
        runAs('a', () => session.find(Note, {}, { lockMode: LockMode.PESSIMISTIC_WRITE })),
      ).rejects.toMatchObject({ code: '55P03' });
    });
    await holds.close();
  });

  it('C7: inside REQUIRES_NEW, and in transactions of forks, they hold as well', async () => {
    await runAs('a', async () => {
      const fork = world.dbContext.session().fork();
      await fork.transactional(async (em) => expect(await show('app.tenant', em)).toBe('a'));
      await session.transactional(async (em) => expect(await show('app.tenant', em)).toBe('a'), {
        propagation: TransactionPropagation.REQUIRES_NEW,
      });
    });
  });

  it('C7: a role that does not exist fails the first statement, and costs no slot', async () => {
    await expect(
      cls.runWith({ tenant: 'a', role: 'no_such_role' } as never, () => run(() => insert('never'))),
    ).rejects.toMatchObject({ code: '22023' });
  });
});

describe('a function that computes them', () => {
  let fault: () => unknown;

  use(() =>
    startWorld({
      poolMax: 1,
      acquireTimeoutMs: 300,
      sessionVariables: () => fault() as Record<string, string>,
    }),
  );

  it.each<readonly [string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('no tenant');
      },
      'no tenant',
    ],
    ['rejects', () => Promise.reject(new Error('no tenant')), 'no tenant'],
    ['never returns', () => new Promise(() => undefined), 'did not return within 300 ms'],
    ['returns nothing', () => undefined, 'sessionVariables: null'],
    [
      'returns a value that is missing',
      () => ({ 'app.tenant': undefined }),
      "['app.tenant']: undefined",
    ],
    ['uses the session', () => session.count(Note), 'used the session'],
  ])('C7: that %s fails the first statement and takes no connection', async (_, each, message) => {
    fault = each;
    await expect(
      run(async () => {
        await expect(insert('never')).rejects.toThrow(message);
        expect(world.pool()).toMatchObject({ checkedOut: 0 });
        throw new Error('the handler');
      }),
    ).rejects.toThrow('the handler');
    expect(world.proxy.log).toEqual([]);
    fault = () => ({});
    await run(() => insert('afterwards'));
    expect(await world.savedTexts()).toEqual(['afterwards']);
  });

  it('C7: that throws is named by a typed error, with what it threw as its cause', async () => {
    const cause = new Error('no tenant');
    fault = () => Promise.reject(cause);
    const error: unknown = await run(() => insert('never')).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ContextSettingsError);
    expect(error).toMatchObject({
      code: 'CONTEXT_SETTINGS_FAILED',
      connectionName: 'default',
      message: expect.stringContaining('no tenant'),
    });
    expect((error as Error).cause).toBe(cause);
  });

  it('C7: whose failure was swallowed lets nothing be committed', async () => {
    fault = () => Promise.reject(new Error('no tenant'));
    await expect(run(() => insert('never').catch(() => undefined))).rejects.toMatchObject({
      code: 'UNEXPECTED_ROLLBACK',
    });
  });
});

describe('settings of a route', () => {
  use(() =>
    startWorld(
      {
        transaction: {
          isolationLevel: 'serializable',
          sessionVariables: { 'app.more': 'connection' },
        },
      },
      { controllers: [RouteController], mount: 'middleware', providers: [ReadingGuard] },
    ),
  );
  const fetchJson = async (path: string): Promise<unknown> => (await world.fetch(path)).json();

  it('C7: of a class win over the connection, and leave the rest of it', async () => {
    expect(await fetchJson('/of-class')).toEqual({
      isolation: 'repeatable read',
      read_only: 'off',
      of: 'class',
      more: 'connection',
    });
  });

  it('C7: of a method win over the class, for all transactions of the request', async () => {
    const settings = {
      isolation: 'repeatable read',
      read_only: 'on',
      of: 'class',
      more: 'method',
    };
    expect(await fetchJson('/of-method')).toEqual({ before: settings, after: settings });
    expect(begins()).toHaveLength(2);
  });

  it('C7: a read-only route that would write fails, and sends nothing', async () => {
    expect((await world.fetch('/refused', { method: 'POST' })).status).toBe(500);
    expect(world.proxy.log).toEqual([]);
  });

  it('C7: a guard that has begun the transaction without them makes the request fail', async () => {
    expect((await world.fetch('/guarded')).status).toBe(500);
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('settings of a block', () => {
  use(() => startWorld({ transaction: { statementTimeoutMs: 10_000 } }));

  it('C7: win over the connection, stay lazy, and end with the block', async () => {
    await run(async () => {
      await world.dbContext.atomic(
        async () => {
          expect(world.proxy.log).toEqual([]);
          expect(await show('transaction_isolation')).toBe('serializable');
          expect(await show('statement_timeout')).toBe('50ms');
          expect(await show('app.x')).toBe('1');
        },
        {
          isolationLevel: 'serializable',
          statementTimeoutMs: 50,
          sessionVariables: { 'app.x': 1 },
        },
      );
      await world.dbContext.atomic(async () => undefined, { isolationLevel: 'serializable' });
      expect(await show('transaction_isolation')).toBe('read committed');
      expect(await show('statement_timeout')).toBe('10s');
      expect(await show('app.x')).not.toBe('1');
    });
    expect(begins()).toEqual(['begin isolation level serializable', 'begin']);
  });

  it('C7: a statement that takes longer than its limit fails with 57014', async () => {
    await expect(
      run(() =>
        world.dbContext.atomic(() => session.execute('select pg_sleep(10)'), {
          statementTimeoutMs: 30,
        }),
      ),
    ).rejects.toMatchObject({ code: '57014' });
  });

  it('C7: a transaction that pauses for longer than its limit is ended by the server', async () => {
    await expect(
      run(() =>
        world.dbContext.atomic(
          async () => {
            const pid = await one('select pg_backend_pid()');
            await insert('never');
            await world.database.query(
              `do $$ begin
                 while exists (select from pg_stat_activity where pid = ${Number(pid)}) loop
                   perform pg_sleep(0.01);
                   perform pg_stat_clear_snapshot();
                 end loop;
               end $$`,
            );
          },
          // Long enough for a busy machine to send the insert in time.
          { idleTimeoutMs: 500 },
        ),
      ),
    ).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      code: 'UNEXPECTED_ROLLBACK',
      cause: { code: '25P03', message: expect.stringContaining('idle-in-transaction timeout') },
    });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C7: of a savepoint must be those of its transaction, or come before its first statement', async () => {
    const settings = { current: 'savepoint', isolationLevel: 'serializable' } as const;
    await run(async () => {
      await world.dbContext.atomic(() => insert('first'), settings);
      await world.dbContext.atomic(() => insert('second'), settings);
      await expect(
        world.dbContext.atomic(() => insert('never'), { ...settings, lockTimeoutMs: 10 }),
      ).rejects.toBeInstanceOf(InvalidTransactionStateError);
    });
    expect(await world.savedTexts()).toEqual(['first', 'second']);
    expect(begins()).toEqual(['begin isolation level serializable']);
  });

  it('C6, C7: those of em.begin() and em.transactional() go with the others', async () => {
    await run(async () => {
      await session.begin({ isolationLevel: 'repeatable read' as never, readOnly: true });
      expect(await show('statement_timeout')).toBe('10s');
      expect(await show('transaction_read_only')).toBe('on');
      await session.commit();
      await session.transactional(
        async () => expect(await show('transaction_isolation')).toBe('serializable'),
        { isolationLevel: 'serializable' as never },
      );
    });
  });

  it('C7: a level that is none is refused, and never becomes SQL', async () => {
    const isolationLevel = 'serializable; drop table note' as never;
    await run(async () => {
      await expect(session.begin({ isolationLevel })).rejects.toBeInstanceOf(InvalidOptionsError);
      await expect(
        world.dbContext.atomic(() => insert('never'), { isolationLevel }),
      ).rejects.toBeInstanceOf(InvalidOptionsError);
    });
    expect(world.proxy.log).toEqual([]);
  });
});

describe('a read-only transaction', () => {
  use(() => startWorld({ transaction: { readOnly: true } }));

  it('C7: refuses a flush before anything is sent', async () => {
    await expect(run(async () => session.persist(new Note('never')))).rejects.toMatchObject({
      constructor: ReadOnlyTransactionError,
      code: 'READ_ONLY_TRANSACTION',
      connectionName: 'default',
      entityNames: ['Note'],
    });
    expect(world.proxy.log).toEqual([]);
  });

  it('C7: refuses it for a changed and for a removed entity, by the session and inside of a savepoint', async () => {
    await world.database.query("insert into note (text) values ('as it is')");
    for (const change of [
      (note: Note) => {
        note.text = 'changed';
      },
      (note: Note) => session.remove(note),
    ]) {
      world.proxy.reset();
      await expect(
        run(async () => {
          change(await session.findOneOrFail(Note, { text: 'as it is' }));
          await session.flush();
        }),
      ).rejects.toBeInstanceOf(ReadOnlyTransactionError);
      await expect(
        run(() =>
          session.transactional(async (em) => {
            change(await em.findOneOrFail(Note, { text: 'as it is' }));
          }),
        ),
      ).rejects.toBeInstanceOf(ReadOnlyTransactionError);
      expect(world.proxy.log.filter((sql) => /^(update|delete)/.test(sql))).toEqual([]);
    }
    expect(await world.savedTexts()).toEqual(['as it is']);
  });

  it('C7: reads, and commits what is unchanged', async () => {
    await world.database.query("insert into note (text) values ('as it is')");
    expect(await run(() => session.find(Note, {}))).toHaveLength(1);
    expect(world.proxy.log.at(-1)).toBe('commit');
  });

  it('C7: leaves what is no flush to the server', async () => {
    await expect(run(() => insert('never'))).rejects.toMatchObject({ code: '25006' });
  });

  it('C7: a block may write all the same', async () => {
    await run(() => world.dbContext.atomic(() => insert('written'), { readOnly: false }));
    expect(await world.savedTexts()).toEqual(['written']);
  });
});

describe('a role', () => {
  use(async () => {
    const started = await startWorld({ role: ROLE });
    await started.database.query(`create role ${ROLE}`);
    await started.database.query(`grant all on note, note_id_seq to ${ROLE}`);
    return {
      ...started,
      close: async () => {
        await started.database.query(`drop owned by ${ROLE}`);
        await started.database.query(`drop role ${ROLE}`);
        await started.close();
      },
    };
  });

  it('C7: is what the transaction runs as, and nothing after it', async () => {
    await run(async () => {
      expect(await one('select current_user::text')).toBe(ROLE);
      await world.dbContext.atomic(
        async () => expect(await one('select current_user = session_user')).toBe(true),
        { role: 'none' },
      );
    });
    const connection = world.connection().orm.em.fork().getConnection();
    expect(await connection.execute('select current_user = session_user as own')).toEqual([
      { own: true },
    ]);
  });
});

describe('settings that cannot be', () => {
  it.each<[string, object]>([
    ['statementTimeoutMs: 0', { transaction: { statementTimeoutMs: 0 } }],
    ['lockTimeoutMs: 1.5. Give a whole number', { transaction: { lockTimeoutMs: 1.5 } }],
    ["idleTimeoutMs: '5s'", { transaction: { idleTimeoutMs: '5s' } }],
    [
      "isolationLevel: 'snapshot'. Give one of read uncommitted",
      { transaction: { isolationLevel: 'snapshot' } },
    ],
    ["readOnly: 'yes'. Give true or false", { transaction: { readOnly: 'yes' } }],
    ['isolation: ', { transaction: { isolation: 'serializable' } }],
    [
      "sessionVariables['app.x']: NaN",
      { transaction: { sessionVariables: { 'app.x': Number.NaN } } },
    ],
    ['its transaction is true', { transaction: true }],
    ['not a function', { sessionVariables: { 'app.tenant': '1' } }],
    ["role: ''. Give the name of a role", { role: '' }],
  ])('C7: are refused at boot: %s', async (message, extra) => {
    const booting = startApp({
      connections: [noteConnection('postgres://127.0.0.1:1/none', extra)],
    });
    await expect(booting).rejects.toThrow(message);
    await expect(booting).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });

  it('C7: are refused where a route is declared', () => {
    expect(() => DbTransaction({ lockTimeoutMs: -1 } satisfies TransactionSettings)).toThrow(
      '@DbTransaction() has lockTimeoutMs: -1',
    );
  });
});
