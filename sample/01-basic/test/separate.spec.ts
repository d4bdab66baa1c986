import type { INestApplication } from '@nestjs/common';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { deferred } from '../../../test/support/deferred.js';
import { WireProxy } from '../../../test/support/wire-proxy.js';
import { send } from '../../starter/walkthrough.js';
import { prepareDatabases } from '../start/prepare-databases.js';
import { STEPS } from '../start/steps.js';
import { ADA, GRACE, requestsTo, startBank } from './bank.js';

/**
 * What a shared transaction cannot show: transactions that meet, what goes over which connection,
 * and that the commits are real ones. So each test begins with a clean-up.
 */
describe('sample 01-basic, separate sessions', () => {
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
    app = await startBank({ databaseUrl: proxy.url, auditUrl: auditProxy.url });
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

  const { get, post } = requestsTo(() => url);

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

  it('a second start changes nothing', async () => {
    await prepareDatabases(app);

    expect(await balances()).toEqual([10_000, 10_000, 10_000]);
  });
});
