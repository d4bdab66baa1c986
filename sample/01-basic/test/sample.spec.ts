import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { deferred } from '../../../test/support/deferred.js';
import { WireProxy } from '../../../test/support/wire-proxy.js';
import { send } from '../../starter/walkthrough.js';
import { AppModule } from '../app.module.js';
import { prepareDatabases } from '../start/prepare-databases.js';
import { STEPS } from '../start/steps.js';

const ADA = { 'x-account-key': 'ada-key' };
const GRACE = { 'x-account-key': 'grace-key' };

describe('sample 01-basic', () => {
  let database: TestDatabase;
  let auditDatabase: TestDatabase;
  let proxy: WireProxy;
  let auditProxy: WireProxy;
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    auditDatabase = await createTestDatabase();
    proxy = await WireProxy.start(database.url);
    auditProxy = await WireProxy.start(auditDatabase.url);
    const testingModule = await Test.createTestingModule({
      imports: [AppModule.register({ databaseUrl: proxy.url, auditUrl: auditProxy.url })],
    }).compile();
    app = testingModule.createNestApplication({ logger: false, forceCloseConnections: true });
    await prepareDatabases(app);
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  });

  afterAll(async () => {
    await app?.close();
    await proxy?.stop();
    await auditProxy?.stop();
    await database?.drop();
    await auditDatabase?.drop();
  });

  beforeEach(async () => {
    await database.query('truncate transfer restart identity');
    await database.query('update account set balance_cents = 10000, failed_logins = 0');
    await auditDatabase.query('truncate audit_entry restart identity');
    proxy.reset();
    auditProxy.reset();
  });

  const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${url}${path}`, { headers });

  const post = (
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> =>
    fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });

  const balances = async (): Promise<number[]> =>
    (
      await database.query<{ balance_cents: number }>(
        'select balance_cents from account order by id',
      )
    ).map((row) => row.balance_cents);

  const transfers = (): Promise<unknown[]> =>
    database.query('select from_id, to_id, amount_cents from transfer order by id');

  const auditTrail = (): Promise<unknown[]> =>
    auditDatabase.query('select action, account_id from audit_entry order by id');

  const count = (log: readonly string[], pattern: RegExp): number =>
    log.filter((sql) => pattern.test(sql)).length;

  it('a transfer is committed in both databases', async () => {
    const response = await post('/transfers', { to: 2, amountCents: 250 }, ADA);

    expect(response.status).toBe(201);
    expect(await response.json()).toMatchObject({ id: 1, from: 1, to: 2, amountCents: 250 });
    expect(await balances()).toEqual([9_750, 10_250, 10_000]);
    expect(await transfers()).toEqual([{ from_id: 1, to_id: 2, amount_cents: 250 }]);
    expect(await auditTrail()).toEqual([{ action: 'transfer.sent', account_id: 1 }]);
  });

  it('422: what the service had written is rolled back in both databases', async () => {
    const response = await post('/transfers', { to: 2, amountCents: 10_001 }, ADA);

    expect(response.status).toBe(422);
    expect(await balances()).toEqual([10_000, 10_000, 10_000]);
    expect(await transfers()).toEqual([]);
    expect(await auditTrail()).toEqual([]);
    // It is the rollback that did it: the debit and the transfer had reached the server.
    expect(count(proxy.log, /update "account"/i)).toBe(1);
    expect(count(proxy.log, /insert into "transfer"/i)).toBe(1);
    expect(count(proxy.log, /^rollback/i)).toBe(1);
    expect(count(proxy.log, /^commit/i)).toBe(0);
  });

  it('401: the trace of a wrong PIN is committed in both databases', async () => {
    const response = await post('/sessions', { accountId: 1, pin: 'wrong' });

    expect(response.status).toBe(401);
    expect(await database.query('select failed_logins from account where id = 1')).toEqual([
      { failed_logins: 1 },
    ]);
    expect(await auditTrail()).toEqual([{ action: 'login.failed', account_id: 1 }]);
  });

  it('the right PIN gives the key and clears the failures', async () => {
    await database.query('update account set failed_logins = 3 where id = 1');
    const response = await post('/sessions', { accountId: 1, pin: '1815' });

    expect(response.status).toBe(201);
    expect(await response.json()).toEqual({ accountKey: 'ada-key' });
    expect(await database.query('select failed_logins from account where id = 1')).toEqual([
      { failed_logins: 0 },
    ]);
    expect(await auditTrail()).toEqual([{ action: 'login.succeeded', account_id: 1 }]);
  });

  it("the guard's session is the handler's session", async () => {
    await post('/transfers', { to: 2, amountCents: 250 }, ADA);
    proxy.reset();
    auditProxy.reset();
    const response = await get('/accounts/1/statement', ADA);

    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      account: { id: 1, balanceCents: 9_750 },
      transfers: [{ from: 1, to: 2, amountCents: 250 }],
    });
    // One transaction on one connection, and the account is read once: by the guard.
    expect(count(proxy.log, /^begin/i)).toBe(1);
    expect(count(proxy.log, /^commit/i)).toBe(1);
    expect(count(proxy.log, /from "account"/i)).toBe(1);
    expect(count(proxy.log, /from "transfer"/i)).toBe(1);
    expect(new Set(proxy.statements.map(({ connection }) => connection)).size).toBe(1);
    expect(auditProxy.log).toEqual([]);
  });

  it('transfers at the same time never overdraw an account', async () => {
    // Both guards have read the sender before either of the two may lock it.
    const bothHaveRead = deferred();
    let waiting = 0;
    proxy.onStatement = async (sql) => {
      if (/for update/i.test(sql)) {
        waiting += 1;
        if (waiting === 2) bothHaveRead.resolve();
        await bothHaveRead.promise;
      }
    };
    const responses = await Promise.all([
      post('/transfers', { to: 2, amountCents: 6_000 }, ADA),
      post('/transfers', { to: 3, amountCents: 6_000 }, ADA),
    ]).finally(() => {
      proxy.onStatement = undefined;
    });

    expect(responses.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 422]);
    expect((await balances()).toSorted((a, b) => a - b)).toEqual([4_000, 10_000, 16_000]);
    expect(await transfers()).toHaveLength(1);
    expect(await auditTrail()).toHaveLength(1);
  });

  it('transfers in opposite directions do not wait for each other for ever', async () => {
    const responses = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        index % 2 === 0
          ? post('/transfers', { to: 2, amountCents: 100 }, ADA)
          : post('/transfers', { to: 1, amountCents: 100 }, GRACE),
      ),
    );

    expect(responses.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 201));
    expect(await balances()).toEqual([10_000, 10_000, 10_000]);
    expect(await auditTrail()).toHaveLength(10);
    const locks = proxy.log.filter((sql) => /for update/i.test(sql));
    expect(locks).toHaveLength(10);
    expect(count(locks, /order by .*"id" asc for update/i)).toBe(10);
  });

  it('the walkthrough says what it does', async () => {
    for (const step of STEPS) {
      const { status } = await send(url, step);
      expect({ ...step, status }).toEqual(step);
    }
    expect(await balances()).toEqual([9_750, 10_250, 10_000]);
    expect(await auditTrail()).toEqual([
      { action: 'transfer.sent', account_id: 1 },
      { action: 'login.failed', account_id: 1 },
    ]);
  });

  it('/health sends no statement', async () => {
    const response = await get('/health');

    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ok' });
    expect([...proxy.log, ...auditProxy.log]).toEqual([]);
  });

  it('a second start changes nothing', async () => {
    await prepareDatabases(app);

    expect(await balances()).toEqual([10_000, 10_000, 10_000]);
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
