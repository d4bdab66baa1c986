import type { INestApplication } from '@nestjs/common';
import {
  expectCommitted,
  expectNoOpenConnections,
  expectRolledBack,
  expectStatements,
  recordStatements,
  useTestTransaction,
  type RecordedStatement,
} from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { ADA, requestsTo, startBank } from './bank.js';

/** Nothing here is cleaned up: each test shares one transaction per database with the application. */
describe('sample 01-basic, a shared transaction', () => {
  let database: TestDatabase;
  let auditDatabase: TestDatabase;
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    auditDatabase = await createTestDatabase();
    app = await startBank({ databaseUrl: database.url, auditUrl: auditDatabase.url });
    url = await app.getUrl();
  });

  afterAll(async () => {
    try {
      // Look past the application: its tests have left nothing.
      expect(await database.query('select * from transfer')).toEqual([]);
      expect(await auditDatabase.query('select * from audit_entry')).toEqual([]);
    } finally {
      await app?.close();
      await database?.drop();
      await auditDatabase?.drop();
    }
  });

  const db = useTestTransaction(() => app);

  afterEach(() => expectNoOpenConnections(app));

  const { get, post } = requestsTo(() => url);

  /** In the test's transaction, past the application. */
  const query = <Row extends object>(sql: string, connection?: string): Promise<Row[]> =>
    db.session(connection).execute<Row[]>(sql);

  const balances = async (): Promise<number[]> =>
    (await query<{ balance_cents: number }>('select balance_cents from account order by id')).map(
      (row) => row.balance_cents,
    );

  const transfers = (): Promise<unknown[]> =>
    query('select from_id, to_id, amount_cents from transfer order by id');

  const auditTrail = (): Promise<unknown[]> =>
    query('select action, account_id from audit_entry order by id', 'audit');

  const count = (log: readonly RecordedStatement[], pattern: RegExp): number =>
    log.filter(({ sql }) => pattern.test(sql)).length;

  it('a transfer is committed in both databases', async () => {
    await expectCommitted(app, async () => {
      const response = await post('/transfers', { to: 2, amountCents: 250 }, ADA);

      expect(response.status).toBe(201);
      // A sequence is not rolled back, so the id is another one in each run.
      const [row] = await query<{ id: number }>('select id from transfer');
      expect(await response.json()).toMatchObject({
        id: row!.id,
        from: 1,
        to: 2,
        amountCents: 250,
      });
    });
    expect(await balances()).toEqual([9_750, 10_250, 10_000]);
    expect(await transfers()).toEqual([{ from_id: 1, to_id: 2, amount_cents: 250 }]);
    expect(await auditTrail()).toEqual([{ action: 'transfer.sent', account_id: 1 }]);
  });

  it('422: what the service had written is rolled back in both databases', async () => {
    const request = async (): Promise<void> => {
      expect((await post('/transfers', { to: 2, amountCents: 10_001 }, ADA)).status).toBe(422);
    };
    const log = await recordStatements(app, () => expectRolledBack(app, request), {
      connections: ['default'],
      withTransactions: true,
    });

    expect(await balances()).toEqual([10_000, 10_000, 10_000]);
    expect(await transfers()).toEqual([]);
    expect(await auditTrail()).toEqual([]);
    // It is the rollback that did it: the debit and the transfer had reached the server.
    expect(count(log, /update "account"/i)).toBe(1);
    expect(count(log, /insert into "transfer"/i)).toBe(1);
    expect(count(log, /^rollback/i)).toBe(1);
    expect(count(log, /^commit/i)).toBe(0);
  });

  it('401: the trace of a wrong PIN is committed in both databases', async () => {
    const response = await post('/sessions', { accountId: 1, pin: 'wrong' });

    expect(response.status).toBe(401);
    expect(await query('select failed_logins from account where id = 1')).toEqual([
      { failed_logins: 1 },
    ]);
    expect(await auditTrail()).toEqual([{ action: 'login.failed', account_id: 1 }]);
  });

  it('the right PIN gives the key and clears the failures', async () => {
    await query('update account set failed_logins = 3 where id = 1');
    const response = await post('/sessions', { accountId: 1, pin: '1815' });

    expect(response.status).toBe(201);
    expect(await response.json()).toEqual({ accountKey: 'ada-key' });
    expect(await query('select failed_logins from account where id = 1')).toEqual([
      { failed_logins: 0 },
    ]);
    expect(await auditTrail()).toEqual([{ action: 'login.succeeded', account_id: 1 }]);
  });

  it('/health sends no statement', async () => {
    const response = await expectStatements(app, [], () => get('/health'), {
      withTransactions: true,
    });

    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ok' });
  });

  it('lists accounts without their secrets', async () => {
    const response = await get('/accounts');

    expect(response.status).toBe(200);
    expect(await response.json()).toEqual([
      { id: 1, owner: 'Ada', balanceCents: 10_000, failedLogins: 0 },
      { id: 2, owner: 'Grace', balanceCents: 10_000, failedLogins: 0 },
      { id: 3, owner: 'Edsger', balanceCents: 10_000, failedLogins: 0 },
    ]);
  });

  it.each([
    { path: '/accounts/x', headers: {}, status: 400 },
    { path: '/accounts/99999999999', headers: {}, status: 400 },
    { path: '/accounts/99', headers: {}, status: 404 },
    { path: '/accounts/1/statement', headers: {}, status: 401 },
    { path: '/accounts/2/statement', headers: ADA, status: 403 },
  ])('GET $path answers $status', async ({ path, headers, status }) => {
    expect((await get(path, { ...headers })).status).toBe(status);
  });

  it.each([
    { body: { to: 2, amountCents: 2.5 }, headers: ADA, status: 400 },
    { body: { to: 2, amountCents: '250' }, headers: ADA, status: 400 },
    { body: { to: 2, amountCents: -1 }, headers: ADA, status: 400 },
    { body: { amountCents: 250 }, headers: ADA, status: 400 },
    { body: [], headers: ADA, status: 400 },
    { body: { to: 1, amountCents: 250 }, headers: ADA, status: 400 },
    { body: { to: 99, amountCents: 250 }, headers: ADA, status: 404 },
    { body: { to: 2, amountCents: 250 }, headers: { 'x-account-key': 'wrong' }, status: 401 },
  ])('POST /transfers of $body answers $status', async ({ body, headers, status }) => {
    expect((await post('/transfers', body, { ...headers })).status).toBe(status);
    expect(await balances()).toEqual([10_000, 10_000, 10_000]);
    expect(await transfers()).toEqual([]);
    expect(await auditTrail()).toEqual([]);
  });
});
