import type { INestApplication } from '@nestjs/common';
import type { PoolState } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { waitFor } from '../../../test/support/wait-for.js';
import { WireProxy } from '../../../test/support/wire-proxy.js';
import { send } from '../../starter/walkthrough.js';
import { STEPS } from '../steps.js';
import { connectionOf, startControlApp } from './control-app.js';

/**
 * What a shared transaction cannot show: branches that really run at the same time, a rollback
 * around what has been committed inside of it, and the counters of the pool. Everything here is
 * really committed, so each test begins with a clean-up.
 */
describe('sample 02-control, separate sessions', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: INestApplication;
  let url: string;
  let duringSlowWork: PoolState | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    proxy = await WireProxy.start(database.url);
    app = await startControlApp(proxy.url, () => {
      duringSlowWork = connectionOf(app).poolState();
    });
    url = await app.getUrl();
  });

  afterAll(async () => {
    await app?.close();
    await proxy?.stop();
    await database?.drop();
  });

  beforeEach(async () => {
    await database.query('truncate entry restart identity');
    proxy.reset();
    duringSlowWork = undefined;
  });

  afterEach(async () => {
    await waitFor(async () => (await openTransactions()).length === 0, {
      what: 'the server to have no open transaction',
    });
    // No waiting here: what a request took is back before its response leaves.
    expect(connectionOf(app).poolState()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  const openTransactions = (): Promise<unknown[]> =>
    database.query(
      `select pid from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
         and query not like '%pg_stat_activity%'`,
    );

  const post = (path: string): Promise<Response> => fetch(`${url}${path}`, { method: 'POST' });

  /** Calls a route and looks past the application at what it has saved. */
  async function saved(path: string, status: number): Promise<string[]> {
    const response = await post(path);
    expect(response.status).toBe(status);
    await response.arrayBuffer();
    return (await rows()).map(({ text }) => text);
  }

  /** `xid` is the transaction that wrote the row, as the server saw it. */
  const rows = (): Promise<{ text: string; xid: string }[]> =>
    database.query('select text, xmin::text as xid from entry order by id');

  const transactions = async (): Promise<string[]> => (await rows()).map(({ xid }) => xid);

  const count = (pattern: RegExp): number => proxy.log.filter((sql) => pattern.test(sql)).length;

  const ends = (): string[] => proxy.log.filter((sql) => /^(commit|rollback)$/i.test(sql));

  const INSERT = /^insert into "entry"/i;

  it('the walkthrough says what it does', async () => {
    for (const step of STEPS) {
      const { status } = await send(url, step);
      expect({ ...step, status }).toEqual(step);
    }
    expect(await rows()).toHaveLength(12);
  });

  it('early close: 2 rows, and no connection is held during the slow work', async () => {
    expect(await saved('/early-close', 201)).toHaveLength(2);
    expect(duringSlowWork).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(new Set(await transactions()).size).toBe(2);
    expect(ends()).toEqual(['commit', 'rollback', 'commit']);
  });

  describe('several at once', () => {
    it('concurrent queries in every way, one of six failing: 5 rows of 5 transactions', async () => {
      expect((await saved('/concurrent-queries', 201)).toSorted()).toEqual([
        'new context',
        'new context, ended by hand',
        'session of the request',
        'session outside any context, atomic',
        'session outside any context, committed by hand',
      ]);
      expect(count(INSERT)).toBe(6);
      expect(new Set(await transactions()).size).toBe(5);
      const inserts = proxy.statements.filter(({ sql }) => INSERT.test(sql));
      expect(new Set(inserts.map(({ connection: number }) => number)).size).toBe(6);
    });

    it('@NewDbContext() three times at once: 3 rows of 3 transactions', async () => {
      expect((await saved('/concurrent-queries/decorated', 201)).toSorted()).toEqual([
        'a',
        'b',
        'c',
      ]);
      expect(new Set(await transactions()).size).toBe(3);
    });

    it('three requests at once, each with its six connections: 15 rows', async () => {
      const responses = await Promise.all([1, 2, 3].map(() => post('/concurrent-queries')));

      expect(responses.map(({ status }) => status)).toEqual([201, 201, 201]);
      expect(await rows()).toHaveLength(15);
    });

    it('an audit entry of a request that fails: 1 row', async () => {
      expect(await saved('/audited', 422)).toEqual(['audit: somebody has tried']);
      expect(count(INSERT)).toBe(2);
    });
  });

  it('newAtomicSession() in a request that fails: 1 row', async () => {
    expect(await saved('/own-session/atomic', 409)).toEqual(['committed with the callback']);
    expect(count(INSERT)).toBe(2);
  });
});
