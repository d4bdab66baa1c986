import type { PoolClient } from 'pg';
import QueryStream from 'pg-query-stream';
import { defineConfig, type EntityManager, type Options } from '@mikro-orm/postgresql';
import { TransactionPropagation } from '@mikro-orm/core';
import type { DbConnectionOptions } from 'nestjs-db-context';
import type { Pool } from 'pg';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { fullMessage } from '../support/full-message.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const TENANT = `select coalesce(current_setting('app.tenant', true), '') as value`;

/** Sets more than a text or a tag shows. */
const FUNCTIONS = `
  create function sets_tenant() returns void language plpgsql as
    $$ begin perform set_config('app.tenant', 'a', false); end $$;
  create function sets_zone() returns void language plpgsql as
    $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); end $$`;

type Extra = Parameters<typeof noteConnection>[1];

describe('resetOnRelease', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: TestApp;
  let session: EntityManager;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(`${NOTE_SCHEMA}; ${FUNCTIONS}`);
    proxy = await WireProxy.start(database.url);
  });

  afterAll(async () => {
    await proxy?.stop();
    await database?.drop();
  });

  afterEach(async () => {
    await waitFor(() => app.pool().checkedOut === 0, { what: 'all connections to be given back' });
    await app.close();
    proxy.reset();
    proxy.heal();
    await database.query('truncate note restart identity');
  });

  const startWith = async (connection: DbConnectionOptions): Promise<void> => {
    app = await startApp({ connections: [connection] });
    session = app.session();
  };
  const start = (extra: Extra = {}): Promise<void> =>
    startWith(noteConnection(proxy.url, { poolMax: 1, ...extra }));
  const startWithOptions = (options: Partial<Options>, extra: Extra = {}): Promise<void> =>
    startWith({ ...noteConnection(proxy.url, { poolMax: 1, ...extra }), ...options } as never);

  const run = <T>(callback: () => Promise<T>): Promise<T> => app.dbContext.run(callback);
  const execute = async (sql: string): Promise<void> => void (await session.execute(sql));
  const valueOf = async (sql: string, em = session): Promise<unknown> => {
    const [row] = await em.execute<{ value: unknown }[]>(sql);
    return row!.value;
  };
  const backend = (em = session): Promise<unknown> =>
    valueOf('select pg_backend_pid() as value', em);
  /** A manager of no session, whose statements take a client of the pool past the library. */
  const outside = (): EntityManager => app.connection().orm.em.fork();
  /** What another request sees on the connection that the pool has. */
  const next = (sql: string): Promise<unknown> => run(() => valueOf(sql));
  const resets = (): number => proxy.log.filter((sql) => sql === 'discard all').length;

  it('F7: the connection is reset before the request that waits for it gets it', async () => {
    await start();
    const waiting = Promise.withResolvers<unknown>();
    await run(async () => {
      await execute(`set app.tenant = 'a'`);
      waiting.resolve(app.dbContext.runInNewContext(() => valueOf(TENANT)));
      await waitFor(() => app.pool().waiting === 1, { what: 'another request to wait' });
    });
    expect(await waiting.promise).toBe('');
    expect(proxy.log).toEqual([
      'begin',
      `set app.tenant = 'a'`,
      'commit',
      'discard all',
      'begin',
      TENANT,
      'commit',
    ]);
  });

  it('F7: a manager of no session gets a clean client after a request', async () => {
    await start();
    await run(() => execute(`set app.tenant = 'a'`));
    expect(await valueOf(TENANT, outside())).toBe('');
    expect(resets()).toBe(1);
  });

  describe('auto', () => {
    it.each<[string, () => Promise<unknown>]>([
      [
        'an insert',
        () => session.insert(Note, { text: `create temp table, set x, listen ${Math.random()}` }),
      ],
      ['a write to what is called temp', () => execute(`select 1 as "temp", 'create' as temp`)],
      ['SET LOCAL', () => execute(`set local app.tenant = 'a'`)],
      ['SET LOCAL ROLE', () => execute('set local role pg_monitor')],
      ['SET LOCAL of a reported parameter', () => execute(`set local time zone 'Asia/Tokyo'`)],
      ['SET LOCAL search_path', () => execute(`set local search_path to pg_catalog`)],
      ['SET TRANSACTION', () => execute('set transaction isolation level serializable')],
      ['SET CONSTRAINTS', () => execute('set constraints all deferred')],
      ['set_config(..., true)', () => execute(`select set_config('app.tenant', 'a', true)`)],
      [
        'set_config(..., true) of what is hard to read',
        () => execute(`select set_config('app.tenant', concat('it''s, (', 'false)'), TRUE)`),
      ],
      ['an advisory lock of the transaction', () => execute('select pg_advisory_xact_lock(1)')],
      [
        'a temporary table that is dropped on commit',
        () => execute('create temp table left_behind on commit drop as select 1 as id'),
      ],
      ['a table that is not temporary', () => execute('create table if not exists other (id int)')],
      ['a cursor of the transaction', () => execute('declare left_behind cursor for select 1')],
      [
        'a stream',
        async () => {
          for await (const note of session.stream(Note)) {
            expect(note).toBeDefined();
          }
        },
      ],
      ['a savepoint', () => session.transactional(() => execute(`set local app.tenant = 'a'`))],
    ])('F7: %s leaves nothing, and costs nothing', async (_, work) => {
      await start();
      await run(work);
      await run(work);
      await next(TENANT);
      expect(resets()).toBe(0);
    });

    it('F7: so do the variables, role and timeouts of a transaction', async () => {
      await start({
        transaction: {
          sessionVariables: { 'app.tenant': 'a' },
          role: 'pg_read_all_data',
          statementTimeoutMs: 1_000,
        },
      });
      expect([await next(TENANT), await next('select current_user as value')]).toEqual([
        'a',
        'pg_read_all_data',
      ]);
      expect(resets()).toBe(0);
    });

    it('F7: so does a request that is rolled back, with a parameter that the server reports', async () => {
      await start();
      const work = (): Promise<void> =>
        run(async () => {
          await execute(`set local time zone 'Asia/Tokyo'`);
          throw new Error('undo');
        });
      await expect(work()).rejects.toThrow('undo');
      await expect(work()).rejects.toThrow('undo');
      expect(await next(`select current_setting('TimeZone') <> 'Asia/Tokyo' as value`)).toBe(true);
      expect(resets()).toBe(0);
    });

    it('F7: what a nested transaction sets is reset', async () => {
      await start();
      await run(() => session.transactional(() => execute(`set app.tenant = 'a'`)));
      expect(await next(TENANT)).toBe('');
      expect(resets()).toBe(1);
    });

    it('F7: an early commit gives nothing to the next transaction of the same request', async () => {
      await start();
      await run(async () => {
        const pid = await backend();
        await execute(`set app.tenant = 'a'`);
        await app.dbContext.commit();
        expect([await backend(), await valueOf(TENANT)]).toEqual([pid, '']);
      });
      expect(resets()).toBe(1);
    });

    it('F7: what a stream of pg sets, whose text nobody sees, is reset', async () => {
      await start();
      await run(() =>
        app.dbContext.withClient(async (client: PoolClient) => {
          const rows = client.query(new QueryStream(`select set_config('app.tenant', 'a', false)`));
          expect(await rows.toArray()).toHaveLength(1);
        }),
      );
      expect(await next(TENANT)).toBe('');
    });

    it('F7: a lock that a failed statement took is not kept', async () => {
      await start();
      const failed = run(() =>
        execute('select pg_advisory_lock(1), 1 / (pg_backend_pid() - pg_backend_pid())'),
      );
      await expect(failed).rejects.toThrow('division by zero');
      expect(
        await next(
          `select count(*)::int as value from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`,
        ),
      ).toBe(0);
    });

    it('F7: a first-write that sets is reset; reads ahead of it cost nothing', async () => {
      await start({ transaction: { begin: 'first-write' } });
      await run(async () => {
        await session.find(Note, {});
        await session.find(Note, {});
      });
      expect(resets()).toBe(0);
      await run(async () => {
        await session.find(Note, {});
        await execute(`select set_config('app.tenant', 'a', false)`);
      });
      expect(await next(TENANT)).toBe('');
      expect(resets()).toBe(1);
    });

    it('F7: a statement of not_supported leaves nothing to the next one', async () => {
      await start();
      await run(() =>
        session.transactional(
          async (em) => {
            const pid = await backend(em);
            await em.execute(`set app.tenant = 'a'`);
            expect([await backend(em), await valueOf(TENANT, em)]).toEqual([pid, '']);
          },
          { propagation: TransactionPropagation.NOT_SUPPORTED },
        ),
      );
      expect(resets()).toBe(1);
    });

    it('F7: a stream of not_supported, whose cursor is closed, costs nothing', async () => {
      await database.query(`insert into note (text) values ('one'), ('two')`);
      await start();
      const texts: string[] = [];
      await run(() =>
        session.transactional(
          async (em) => {
            for await (const { text } of em.stream(Note)) {
              texts.push(text);
            }
          },
          { propagation: TransactionPropagation.NOT_SUPPORTED },
        ),
      );
      expect(texts).toEqual(['one', 'two']);
      expect(proxy.log.some((sql) => sql.includes('with hold'))).toBe(true);
      expect(resets()).toBe(0);
    });

    it('F7: a transaction of its own (requires_new) is reset as well', async () => {
      await start();
      await run(() =>
        session.transactional((em) => em.execute(`set app.tenant = 'a'`), {
          propagation: TransactionPropagation.REQUIRES_NEW,
        }),
      );
      expect(await next(TENANT)).toBe('');
    });

    it('F7: a connection of a replica is reset', async () => {
      await startWithOptions(
        { replicas: [{ clientUrl: database.url }] },
        { transaction: { readOnly: true } },
      );
      const pid = await run(async () => {
        await execute(`set app.tenant = 'a'`);
        return backend();
      });
      expect(app.connection().replicaStates()[0]!.pool).toMatchObject({ size: 1 });
      await waitFor(() => app.pool().checkedOut === 0, { what: 'the reset' });
      expect(await run(async () => [await backend(), await valueOf(TENANT)])).toEqual([pid, '']);
    });

    it('F7: a parameter that the server reports is noticed where a function sets it', async () => {
      await start();
      const isTokyo = `select current_setting('TimeZone') = 'Asia/Tokyo' as value`;
      await run(() => execute('select sets_zone()'));
      expect(await next(isTokyo)).toBe(false);
      expect(resets()).toBe(1);
    });

    it('any other that a function sets is not: that is what always is for', async () => {
      await start();
      await run(() => execute('select sets_tenant()'));
      expect(await next(TENANT)).toBe('a');
      expect(resets()).toBe(0);
    });

    it('F7: what orm.em leaves outside of a session is reset before a session gets it', async () => {
      await start();
      await next(TENANT);
      const pid = await backend(outside());
      await outside().execute(`set app.tenant = 'a'`);
      expect(await run(async () => [await backend(), await valueOf(TENANT)])).toEqual([pid, '']);
      expect(resets()).toBe(1);
    });

    it('F7: a connection that was used before the first session is reset once', async () => {
      await start();
      await outside().execute(`select set_config('app.tenant', 'a', false)`);
      expect(await next(TENANT)).toBe('');
      expect(await next(TENANT)).toBe('');
      expect(resets()).toBe(1);
    });

    it('F7: named statements of pg are prepared again after a reset', async () => {
      await start();
      const pool = (await app.connection().pool()) as unknown as Pool;
      const named = (): Promise<unknown> => pool.query({ name: 'one', text: 'select 1 as one' });
      await named();
      await run(() => execute(`set app.tenant = 'a'`));
      expect(await named()).toMatchObject({ rows: [{ one: 1 }] });
      expect(resets()).toBe(1);
      expect(proxy.openConnections).toBe(1);
    });
  });

  describe('set-up of a connection', () => {
    it('F7: onCreateConnection is repeated after a reset', async () => {
      await startWithOptions({
        onCreateConnection: async (connection: {
          executeQuery(query: object): Promise<unknown>;
        }) => {
          await connection.executeQuery({ sql: `set app.tenant = 'own'`, parameters: [] });
        },
      } as never);
      expect(await next(TENANT)).toBe('own');
      expect(resets()).toBe(0);
      await run(() => execute(`set app.tenant = 'a'`));
      expect(await next(TENANT)).toBe('own');
      expect(resets()).toBe(1);
      expect(proxy.openConnections).toBe(1);
      await run(() => execute('reset app.tenant'));
      expect(await next(TENANT)).toBe('own');
    });

    it('F7: what onReserveConnection sets for one user does not reach the next', async () => {
      let tenant: string | undefined = 'a';
      await startWithOptions({
        onReserveConnection: async (connection: {
          executeQuery(query: object): Promise<unknown>;
        }) => {
          if (tenant !== undefined) {
            const sql = `select set_config('app.tenant', '${tenant}', false)`;
            await connection.executeQuery({ sql, parameters: [] });
          }
        },
      } as never);
      expect(await next(TENANT)).toBe('a');
      tenant = undefined;
      expect(await next(TENANT)).toBe('');
    });

    it('F7: what a listener of the pool has set is not undone: the connection is closed', async () => {
      await startWithOptions({
        driverOptions: {
          onPoolCreated: (pool: Pool) => {
            pool.on('connect', (client) => void client.query(`set app.tenant = 'own'`));
          },
        },
      });
      // The first statement is sent before the listener's own is answered.
      await run(() => execute(`select set_config('app.tenant', 'a', false)`));
      expect(await next(TENANT)).toBe('own');
      const pid = await next('select pg_backend_pid() as value');
      // It is no state that a request has left.
      expect(await run(async () => [await backend(), await valueOf(TENANT)])).toEqual([pid, 'own']);
      await run(() => execute(`set app.tenant = 'a'`));
      expect(await next(TENANT)).toBe('own');
      expect(await next('select pg_backend_pid() as value')).not.toBe(pid);
      expect(resets()).toBe(0);
    });
  });

  describe('a reset that fails', () => {
    it.each(['cut', 'drop-answer'] as const)(
      'F7, F1: costs the connection, and no slot of the pool (%s)',
      async (fate) => {
        await start();
        proxy.arm(fate, /^discard all/);
        await run(() => execute(`set app.tenant = 'a'`));
        expect(await next(TENANT)).toBe('');
        expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
      },
    );

    it('F7, F6: that is not answered is given up after endTimeoutMs', async () => {
      await start({ endTimeoutMs: 200 });
      proxy.arm('lose-answer', /^discard all/);
      await run(() => execute(`set app.tenant = 'a'`));
      const startedAt = performance.now();
      expect(await next(TENANT)).toBe('');
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    });

    it('F7: that fails before a session gets the connection leads to another one', async () => {
      await start();
      await next(TENANT);
      await outside().execute(`set app.tenant = 'a'`);
      proxy.arm('cut', /^discard all/);
      expect(await next(TENANT)).toBe('');
    });
  });

  it('F7: always resets after each use, and so also what a function has set', async () => {
    await start({ resetOnRelease: 'always' });
    const pid = await next('select pg_backend_pid() as value');
    await run(() => execute('select sets_tenant()'));
    expect(await run(async () => [await backend(), await valueOf(TENANT)])).toEqual([pid, '']);
    await waitFor(() => resets() === 3, { what: 'the reset after the third request' });
    // What others have used is reset before.
    await outside().execute('select sets_tenant()');
    expect(await next(TENANT)).toBe('');
    await waitFor(() => resets() === 5, { what: 'two resets more' });
  });

  it.each(['auto', 'always'] as const)(
    'F7: %s closes a connection on which random() has been seeded',
    async (resetOnRelease) => {
      await start({ resetOnRelease });
      const pid = await run(async () => {
        await execute('set local seed = 0.42');
        return backend();
      });
      const [seeded] = await database.query<{ value: number }>(
        'select setseed(0.42), random() as value',
      );
      expect(await next('select random() as value')).not.toBe(seeded!.value);
      expect(await next('select pg_backend_pid() as value')).not.toBe(pid);
    },
  );

  it('never leaves everything where it is', async () => {
    await start({ resetOnRelease: 'never' });
    await run(() => execute(`set app.tenant = 'a'`));
    expect(await next(TENANT)).toBe('a');
    expect(resets()).toBe(0);
  });
});

describe('the option resetOnRelease', () => {
  it.each([
    ['sometimes', "'sometimes'"],
    [true, 'true'],
    [null, 'null'],
  ])('is refused where it is %p', async (resetOnRelease, shown) => {
    const connection = {
      ...defineConfig({ clientUrl: 'postgres://localhost/none', entities: [Note] }),
      resetOnRelease,
    };
    await expect(startApp({ connections: [connection as never] })).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: fullMessage(
        'INVALID_OPTIONS',
        `The connection "default" has resetOnRelease: ${shown}. Give one of auto, always, never.`,
      ),
    });
  });
});
