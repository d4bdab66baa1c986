import { defineConfig, DriverException, MikroORM } from '@mikro-orm/postgresql';
import { dbContextChannels, type ReplicaEvent } from 'nestjs-db-context/telemetry';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const TIMES = 10;
const POOL_SIZE = 3;

// The replica is the same server behind a proxy: what the proxy sees was sent to the replica.
describe('faults of a replica', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: TestApp;
  let orm: MikroORM | undefined;

  const options = (replicas: readonly string[]) =>
    defineConfig({
      clientUrl: database.url,
      replicas: replicas.map((clientUrl) => ({ clientUrl })),
      entities: [Note],
      ensureDatabase: false,
      pool: { min: 0, max: POOL_SIZE },
      driverOptions: { application_name: 'replica_faults' },
    });

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });

  afterAll(() => database.drop());

  beforeEach(async () => {
    proxy = await WireProxy.start(database.url);
    orm = undefined;
  });

  afterEach(async () => {
    expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    await app.close();
    await orm?.close(true);
    await proxy.stop();
  });

  const start = async (extra: object = {}): Promise<void> => {
    app = await startApp({
      connections: [{ ...options([proxy.url]), acquireTimeoutMs: 500, ...extra }],
    });
  };

  const read = (sql = 'select 1 as one'): Promise<unknown> =>
    app.dbContext.run(() =>
      app.dbContext.atomic((session) => session.execute(sql), {
        readOnly: true,
      }),
    );

  const isLeftOut = (): boolean => app.connection().replicaStates()[0]!.isLeftOut;

  it('F6: one that swallows what it is sent is passed over after acquireTimeoutMs, and then left out', async () => {
    await start({ readFrom: { retryAfterMs: 200 } });
    proxy.freeze();
    expect(await Promise.all([read(), read(), read(), read(), read()])).toHaveLength(5);
    expect(isLeftOut()).toBe(true);
    await Promise.all(Array.from({ length: TIMES }, () => read()));
    expect(proxy.log).toEqual([]);
    proxy.thaw();
    await waitFor(
      async () => {
        await read();
        return !isLeftOut();
      },
      { what: 'the replica to be used again' },
    );
    proxy.reset();
    await read();
    expect(proxy.log).toContain('begin read only');
    await waitFor(() => app.pool().checkedOut === 0, { what: 'late connections to be given back' });
  });

  it(`F1: one that dies in mid-transaction costs no pool slot, ${TIMES} times`, async () => {
    await start({ readFrom: { fallback: 'error', retryAfterMs: 1 } });
    for (let time = 1; time <= TIMES; time++) {
      proxy.cutBefore(/pg_sleep/);
      await expect(read('select pg_sleep(0)')).rejects.toMatchObject({
        constructor: DriverException,
        code: 'ECONNRESET',
        message: expect.stringContaining('read ECONNRESET'),
      });
      expect(app.pool().checkedOut).toBe(0);
    }
    expect(await read()).toEqual([{ one: 1 }]);
  });

  it('F1: a replica whose pool is in use is waited for, and is not left out for it', async () => {
    await start({ acquireTimeoutMs: 200 });
    const held = Array.from({ length: POOL_SIZE }, () => read('select pg_sleep(1.5)'));
    await waitFor(() => app.connection().replicaStates()[0]!.pool?.checkedOut === POOL_SIZE, {
      what: 'the pool to be in use',
    });
    await waitFor(
      async () =>
        (
          await database.query(
            `select from pg_stat_activity where query like '%pg_sleep(1.5)%' and pid <> pg_backend_pid()`,
          )
        ).length === POOL_SIZE,
      { what: 'all to sleep' },
    );
    await expect(read()).rejects.toMatchObject({ code: 'ACQUIRE_TIMEOUT' });
    expect(isLeftOut()).toBe(false);
    await Promise.all(held);
    expect(await read()).toEqual([{ one: 1 }]);
  });

  it('O1: one that comes back is used again, with no primary to serve meanwhile, which is published', async () => {
    await start({ readFrom: { fallback: 'error', retryAfterMs: 60_000 } });
    const { replicaLeave, replicaReturn } = dbContextChannels;
    const events: ReplicaEvent[] = [];
    const keep = (event: ReplicaEvent): void => void events.push(event);
    replicaLeave.subscribe(keep);
    replicaReturn.subscribe(keep);
    proxy.refuse = true;
    await expect(read()).rejects.toMatchObject({ code: 'REPLICAS_UNAVAILABLE' });
    proxy.refuse = false;
    expect(await read()).toEqual([{ one: 1 }]);
    expect(isLeftOut()).toBe(false);
    expect(await read()).toEqual([{ one: 1 }]);
    replicaLeave.unsubscribe(keep);
    replicaReturn.unsubscribe(keep);
    const { host } = new URL(proxy.url);
    const connection = { name: 'default', host: app.connection().host };
    expect(events).toMatchObject([
      { connection, host, error: { code: 'CONNECTION_FAILED' } },
      { connection, host, error: undefined },
    ]);
  });

  it('the replicas of an orm that was handed over are used, and stay the application’s', async () => {
    orm = await MikroORM.init(options([proxy.url]));
    app = await startApp({ connections: [{ orm }] });
    expect(await read()).toEqual([{ one: 1 }]);
    expect(proxy.log).toContain('begin read only');
    await app.close();
    proxy.reset();
    await orm.driver.getConnection('read').execute('select 2');
    expect(proxy.log).toEqual(['select 2']);
  });

  it('H3: close() waits for their transactions, and leaves no connection', async () => {
    await start();
    const reading = read('select pg_sleep(0.2)');
    await waitFor(() => proxy.log.some((sql) => sql.includes('pg_sleep')), { what: 'the read' });
    await Promise.all([reading, app.connection().close()]);
    await waitFor(
      async () =>
        (
          await database.query(
            "select from pg_stat_activity where application_name = 'replica_faults'",
          )
        ).length === 0,
      { what: 'no connection to be left' },
    );
  });
});
