import { Client, Pool, type ClientConfig } from 'pg';

import { cancelBackend } from '../../lib/postgresql/cancel-request.js';
import type { PgClient } from '../../lib/postgresql/pg-client.js';
import { Lease } from '../../lib/connection/lease.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { waitFor } from '../support/wait-for.js';

/** What `docs/connections-pgbouncer.md` says of PgBouncer itself, past the library. */
const throughPooler =
  process.env['DB_CONTEXT_TEST_POOLER'] === undefined ? describe.skip : describe;

throughPooler('PgBouncer in transaction mode', () => {
  let database: TestDatabase;
  const clients: Client[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end()));
  });
  afterAll(() => database.drop());

  const connect = async (config: ClientConfig = {}): Promise<Client> => {
    const client = new Client({ connectionString: database.url, ...config });
    client.on('error', () => undefined);
    await client.connect();
    clients.push(client);
    return client;
  };
  const valueOf = async (client: Client, sql: string): Promise<unknown> => {
    const { rows } = await client.query<{ value: unknown }>(sql);
    return rows[0]?.value;
  };
  /** A backend that no transaction holds is the next client's. */
  const backendOf = (client: Client) => valueOf(client, 'select pg_backend_pid() as value');

  it.each([
    ['statement_timeout', { statement_timeout: 1_000 }],
    ['lock_timeout', { lock_timeout: 1_000 }],
    ['idle_in_transaction_session_timeout', { idle_in_transaction_session_timeout: 1_000 }],
    ['options', { options: '-c search_path=other' }],
  ])('the startup parameter %s is refused', async (name, config) => {
    const client = new Client({ connectionString: database.url, ...config });
    client.on('error', () => undefined);
    await expect(client.connect()).rejects.toThrow(`unsupported startup parameter: ${name}`);
  });

  it('application_name is passed on', async () => {
    const client = await connect({ application_name: 'passed on' });
    expect(await valueOf(client, `select current_setting('application_name') as value`)).toBe(
      'passed on',
    );
  });

  it('several connections share one backend between their transactions', async () => {
    const [one, other] = [await connect(), await connect()];
    expect(await backendOf(one)).toBe(await backendOf(other));
    await one.query('begin');
    expect(await backendOf(one)).not.toBe(await backendOf(other));
    await one.query('rollback');
  });

  it('SET outlives the transaction, on the backend, for the next client; SET LOCAL does not', async () => {
    const [one, other] = [await connect(), await connect()];
    await one.query(`begin; set local work_mem = '7MB'; commit`);
    expect(await valueOf(other, `select current_setting('work_mem') as value`)).not.toBe('7MB');
    await one.query(`set work_mem = '7MB'`);
    expect(await valueOf(other, `select current_setting('work_mem') as value`)).toBe('7MB');
    await one.query('reset work_mem');
  });

  it('an advisory lock of a session stays with the backend; that of a transaction ends with it', async () => {
    const [one, other] = [await connect(), await connect()];
    await one.query('select pg_advisory_lock(1)');
    // The same backend, to which the lock belongs already: two clients hold it at once.
    expect(await valueOf(other, 'select pg_try_advisory_lock(1) as value')).toBe(true);
    await one.query('select pg_advisory_unlock_all()');

    await one.query('begin; select pg_advisory_xact_lock(2)');
    expect(await valueOf(other, 'select pg_try_advisory_xact_lock(2) as value')).toBe(false);
    await one.query('commit');
    expect(await valueOf(other, 'select pg_try_advisory_xact_lock(2) as value')).toBe(true);
  });

  it('DISCARD ALL resets the backend that is free, which need not be the one that was used', async () => {
    const [one, other] = [await connect(), await connect()];
    const tenant = `select current_setting('app.tenant', true) as value`;
    await one.query(`set app.tenant = 'a'`);
    // Its backend is taken, so the reset goes to another.
    await other.query('begin');
    await one.query('discard all');
    expect(await valueOf(other, tenant)).toBe('a');
    await other.query('rollback');
    await one.query('discard all');
    expect(await valueOf(other, tenant)).not.toBe('a');
  });

  it('LISTEN is answered, and hears nothing', async () => {
    const [one, other] = [await connect(), await connect()];
    const heard: unknown[] = [];
    one.on('notification', ({ payload }) => heard.push(payload));
    await one.query('listen news');
    await other.query(`notify news, 'of others'`);
    // Its own answer comes after any notification that was on the way to this client.
    await one.query('select 1');
    expect(heard).toEqual([]);
    await one.query('unlisten *');
  });

  it('a named statement is prepared on one backend, and unknown or taken on another', async () => {
    const [one, other] = [await connect(), await connect()];
    const named = { name: 'by_name', text: 'select 1 as value' };
    await one.query(named);
    await expect(other.query(named)).rejects.toMatchObject({ code: '42P05' });
    await other.query('begin');
    // Its backend is taken, so this one is served by another.
    await expect(one.query(named)).rejects.toMatchObject({ code: '26000' });
    await other.query('rollback');
    await one.query('deallocate all');
  });

  it('parameters without a name are no problem', async () => {
    const client = await connect();
    const { rows } = await client.query('select $1::int as value', [7]);
    expect(rows).toEqual([{ value: 7 }]);
  });

  it('a request to cancel reaches the backend that works for the client', async () => {
    const client = await connect();
    const sleeping = client.query('begin; select pg_sleep(60)').catch((error: unknown) => error);
    await waitFor(
      async () =>
        (
          await database.query(
            `select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
          )
        ).length === 1,
      { what: 'the statement to run' },
    );
    expect(await cancelBackend(client as unknown as PgClient)).toBe(true);
    expect(await sleeping).toMatchObject({ code: '57014' });
    await client.query('rollback');
  });

  it('F1: statements that are given up at the same time are all stopped on the server', async () => {
    const COUNT = 20;
    const pool = new Pool({ connectionString: database.url, max: COUNT });
    pool.on('error', () => undefined);
    const sleeping = async (): Promise<number> =>
      (
        await database.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
        )
      ).length;
    try {
      const given = await Promise.all(
        Array.from({ length: COUNT }, async () => {
          const client = await pool.connect();
          client.on('error', () => undefined);
          const failed = client
            .query('begin; select pg_sleep(30)')
            .catch((error: unknown) => error);
          return { client, failed };
        }),
      );
      await waitFor(async () => (await sleeping()) === COUNT, { what: 'the statements to run' });
      const abandoned = given.map(({ client }) =>
        new Lease(client as unknown as PgClient, () => undefined).destroy(),
      );
      expect([pool.totalCount, pool.waitingCount]).toEqual([0, 0]);
      await Promise.all(abandoned);
      expect(await Promise.all(given.map(({ failed }) => failed))).toEqual(
        Array.from({ length: COUNT }, () => expect.any(Error)),
      );
      await waitFor(async () => (await sleeping()) === 0, {
        what: 'the statements to be stopped',
        timeoutMs: 3_000,
      });
    } finally {
      await pool.end();
    }
  });

  it('a client that leaves in mid-transaction leaves none open', async () => {
    const client = await connect();
    await client.query('begin; select 1');
    (client as unknown as PgClient).connection.stream.destroy();
    await waitFor(
      async () =>
        (
          await database.query(
            `select 1 from pg_stat_activity
             where datname = current_database() and state like 'idle in transaction%'`,
          )
        ).length === 0,
      { what: 'the transaction to end' },
    );
  });
});
