import { defineConfig, MikroORM } from '@mikro-orm/postgresql';
import { InvalidOptionsError, NoPrimaryError, type FailoverOptions } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const TIMEOUT_MS = 400;
const NOTHING = { checkedOut: 0, waiting: 0 };

/** Two ways to one server, which says on both that it is the primary. */
describe('failover: the look for the primary', () => {
  let database: TestDatabase;
  let one: WireProxy;
  let two: WireProxy;
  let app: TestApp | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());

  beforeEach(async () => {
    await database.query('truncate note');
    [one, two] = await Promise.all([WireProxy.start(database.url), WireProxy.start(database.url)]);
  });
  afterEach(async () => {
    [one, two].forEach((proxy) => proxy.thaw());
    const left = app?.pool();
    await app?.close();
    app = undefined;
    await Promise.all([one.stop(), two.stop()]);
    expect(left ?? NOTHING).toMatchObject(NOTHING);
  });

  const hostOf = (proxy: WireProxy): string => new URL(proxy.url).host;

  async function start(
    failover: Partial<FailoverOptions> = {},
    others: Parameters<typeof noteConnection>[1] = {},
  ): Promise<TestApp> {
    const hosts = [hostOf(one), hostOf(two)];
    app = await startApp({
      connections: [
        noteConnection(one.url, {
          ...others,
          failover: { hosts, timeoutMs: TIMEOUT_MS, cacheMs: 60_000, ...failover },
        }),
      ],
    });
    return app;
  }

  const save = (text: string): Promise<unknown> =>
    app!.dbContext.run(() => app!.session().insert(Note, { text }));

  /** How often each way was asked. */
  const looks = (): number[] =>
    [one, two].map(({ log }) => log.filter((sql) => sql.includes('pg_is_in_recovery')).length);

  async function tookMs(work: Promise<unknown>): Promise<number> {
    const startedAt = performance.now();
    await work;
    return performance.now() - startedAt;
  }

  it('L1: nothing connects before the first statement of the first session', async () => {
    one.refuse = two.refuse = true;
    const { dbContext, session, pool } = await start();
    await dbContext.run(async () => {
      session().persist(new Note('a'));
      session().clear();
    });
    expect([pool(), looks()]).toMatchObject([{ checkedOut: 0, idle: 0 }, [0, 0]]);
    await expect(save('a')).rejects.toBeInstanceOf(NoPrimaryError);
    one.refuse = two.refuse = false;
    await save('b');
    expect(looks()).toEqual([1, 1]);
  });

  it('one look serves all who ask at the same time, and its connections are closed', async () => {
    const { connection } = await start();
    await Promise.all(Array.from({ length: 20 }, (_, index) => save(`${index}`)));
    expect(looks()).toEqual([1, 1]);
    expect(connection().host).toBe(hostOf(one));
    await waitFor(() => two.openConnections === 0 && one.openConnections <= 5, {
      what: 'the connections of the look to be closed',
    });
  });

  it('the answer holds for cacheMs', async () => {
    await start({ cacheMs: 300 });
    await save('a');
    await save('b');
    expect(looks()).toEqual([1, 1]);
    await waitFor(async () => (await save(`${performance.now()}`), looks()[0]! > 1), {
      what: 'another look',
    });
    expect(looks()).toEqual([2, 2]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['a connection that is lost', async () => one.cut()],
    [
      'a backend that is ended (57P01)',
      () =>
        database.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid()`,
        ),
    ],
  ])('%s makes the next transaction look again', async (_sign, happens) => {
    const { pool } = await start();
    await save('a');
    await save('b');
    expect(looks()).toEqual([1, 1]);
    await happens();
    await waitFor(() => pool().idle === 0, { what: 'the loss to be noticed' });
    await save('c');
    expect(looks()).toEqual([2, 2]);
  });

  it('a connection attempt that fails makes the next transaction look again, and leave', async () => {
    const { pool, connection } = await start();
    await save('a');
    // No sign of trouble: the application gives the connection up itself.
    await (await connection().pool()).connect().then((client) => client.release(true));
    expect(pool()).toMatchObject({ idle: 0 });
    one.refuse = true;
    await expect(save('b')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await save('c');
    expect(connection().host).toBe(hostOf(two));
    expect(looks()).toEqual([1, 2]);
  });

  it('a write in a transaction that was asked to be read-only is no sign of trouble', async () => {
    const { dbContext, session } = await start();
    const write = dbContext.runInNewContext(() =>
      dbContext.atomic(() => session().execute(`insert into note (text) values ('a')`), {
        readOnly: true,
      }),
    );
    await expect(write).rejects.toMatchObject({ code: '25006' });
    await save('b');
    expect(looks()).toEqual([1, 1]);
  });

  it('a half-open host that is not in use holds up nobody for long', async () => {
    const { connection } = await start({ timeoutMs: 5_000 });
    two.freeze();
    expect(await tookMs(save('a'))).toBeLessThan(2_000);
    expect(connection().host).toBe(hostOf(one));
    two.heal();
  });

  it('a half-open host in use is left after timeoutMs', async () => {
    const { connection } = await start();
    one.freeze();
    const took = await tookMs(Promise.all([save('a'), save('b')]));
    expect(took).toBeGreaterThan(TIMEOUT_MS - 10);
    expect(took).toBeLessThan(TIMEOUT_MS + 2_000);
    expect(connection().host).toBe(hostOf(two));
    one.heal();
  });

  it('NoPrimaryError says what each host answered, and a crowd shares one look', async () => {
    await start();
    one.refuse = true;
    two.freeze();
    const errors = await Promise.all(
      Array.from({ length: 50 }, (_, index) => save(`${index}`).catch((error: unknown) => error)),
    );
    const [error] = errors as [NoPrimaryError];
    expect(new Set(errors).size).toBe(50);
    expect(error).toBeInstanceOf(NoPrimaryError);
    expect(error).toMatchObject({
      code: 'NO_PRIMARY',
      connectionName: 'default',
      answers: [
        { host: hostOf(one), role: 'unknown', error: { message: expect.any(String) } },
        { host: hostOf(two), role: 'unknown', error: { message: expect.any(String) } },
      ],
    });
    const [refusal, silence] = error.answers.map((answer) => answer.error!.message);
    expect(error.message).toContain(
      'No host of connection "default" in the context of dbContext.run() is a primary',
    );
    expect(error.message).toContain(
      `${refusal}; ${hostOf(two)}: ${silence}). Look why none of them can be reached, or lets this user in;`,
    );
    expect([refusal, silence]).toEqual([
      expect.stringContaining('ECONNRESET'),
      `no answer within ${TIMEOUT_MS} ms`,
    ]);
    expect(error.cause).toBe(error.answers[0]!.error);
    // The connection of the search is still open, and was never asked anything.
    expect(two.openConnections).toBe(1);
    two.thaw();
    await save('back');
    expect(await database.query('select text from note')).toEqual([{ text: 'back' }]);
  });

  it('a crowd without a primary is refused soon, with a pause between two looks', async () => {
    await start({ hosts: [hostOf(one), '127.0.0.1:1'] });
    one.refuse = true;
    const until = performance.now() + 1_000;
    const refusals: number[] = [];
    const client = async (): Promise<void> => {
      while (performance.now() < until) {
        refusals.push(await tookMs(expect(save('a')).rejects.toBeInstanceOf(NoPrimaryError)));
      }
    };
    await Promise.all(Array.from({ length: 10 }, client));
    // Ten looks a second at most, each shared by ten.
    expect(refusals.length).toBeLessThanOrEqual(120);
    expect(refusals.length).toBeGreaterThan(20);
    one.refuse = false;
    await save('back');
  });

  it('the host in use stays when another one is as good', async () => {
    const { connection } = await start({ hosts: [hostOf(two), hostOf(one)] });
    await save('a');
    expect(connection().host).toBe(hostOf(one));
  });

  it('changeHost() by hand holds until the next look, which goes by the hosts', async () => {
    const three = await WireProxy.start(database.url);
    const { connection } = await start();
    await save('a');
    await connection().changeHost(hostOf(three));
    await save('b');
    expect(connection().host).toBe(hostOf(three));
    three.refuse = true;
    three.cut();
    await waitFor(() => app!.pool().idle === 0, { what: 'the loss to be noticed' });
    await save('c');
    expect([hostOf(one), hostOf(two)]).toContain(connection().host);
    await three.stop();
  });

  it('beforeSession of the application runs before it', async () => {
    const seen: number[][] = [];
    await start({}, { beforeSession: () => void seen.push(looks()) });
    await save('a');
    await save('b');
    expect(seen).toEqual([
      [0, 0],
      [1, 1],
    ]);
  });

  it('connect() goes to the primary', async () => {
    const { connection } = await start({ hosts: [hostOf(one), two.url] });
    one.refuse = true;
    await connection().connect();
    expect(connection().host).toBe(hostOf(two));
  });

  it('the hosts are asked with the TLS of the connection', async () => {
    const { name: _, ...options } = noteConnection(one.url, {
      failover: { hosts: [hostOf(one), hostOf(two)] },
    });
    app = await startApp({
      connections: [{ ...options, driverOptions: { ssl: { rejectUnauthorized: false } } } as never],
    });
    const error = await save('a').catch((reason: unknown) => reason as NoPrimaryError);
    expect(error).toBeInstanceOf(NoPrimaryError);
    expect(String(error)).toMatch(/does not support SSL connections.*does not support SSL/);
  });

  it('an orm that was handed over is kept on the primary as well', async () => {
    const orm = await MikroORM.init(defineConfig({ clientUrl: one.url, entities: [Note] }));
    app = await startApp({
      connections: [{ orm, failover: { hosts: [hostOf(one), hostOf(two)] } }],
    });
    await save('a');
    one.refuse = true;
    one.cut();
    await waitFor(() => app!.pool().idle === 0, { what: 'the loss to be noticed' });
    await save('b');
    await orm.em.fork().insert(Note, { text: 'past a session' });
    expect(app.connection().host).toBe(hostOf(two));
    expect(two.log.filter((sql) => sql.startsWith('insert'))).toHaveLength(2);
    await app.close();
    app = undefined;
    await orm.close(true);
  });

  it('a look under way neither fails nor holds up the end of the application', async () => {
    await start({ timeoutMs: 2_000 });
    one.freeze();
    const saved = save('a').catch((error: unknown) => error);
    await waitFor(() => one.openConnections === 1, { what: 'the look' });
    const took = await tookMs(app!.close());
    expect(took).toBeLessThan(4_000);
    one.heal();
    await saved;
  });
});

describe('failover: its options', () => {
  it('a connection that leaves no say in the host: refused at boot', async () => {
    const clientUrl = 'postgres://db1:5432/app';
    const boot = startApp({
      connections: [
        {
          ...defineConfig({ entities: [Note], driverOptions: { connectionString: clientUrl } }),
          dbName: 'app',
          failover: { hosts: ['db1', 'db2'] },
        },
      ],
    });
    await expect(boot).rejects.toThrow(/has a connectionString in driverOptions/);
  });

  it.each<[string, unknown, RegExp]>([
    ['no hosts', {}, /without at least two hosts/],
    ['a string', { hosts: 'db1,db2' }, /without at least two hosts/],
    ['one host', { hosts: ['db1'] }, /without at least two hosts/],
    ['one host twice', { hosts: ['db1', 'DB1:5432'] }, /two are the same, db1:5432/],
    ['a host that is none', { hosts: ['db1', 'db 2'] }, /was given the host "db 2"/],
    ['a limit of 0', { hosts: ['db1', 'db2'], timeoutMs: 0 }, /failover: \{ timeoutMs: 0 \}/],
    [
      'a limit that is none',
      { hosts: ['db1', 'db2'], cacheMs: '5s' },
      /failover: \{ cacheMs: 5s \}/,
    ],
  ])('%s: refused at boot', async (_what, failover, message) => {
    const boot = startApp({
      connections: [
        noteConnection('postgres://db1:5432/app', { failover: failover as FailoverOptions }),
      ],
    });
    await expect(boot).rejects.toThrow(message);
    await expect(boot).rejects.toBeInstanceOf(InvalidOptionsError);
  });
});
