import type { EntityManager } from '@mikro-orm/postgresql';
import {
  ConnectionClosedError,
  ConnectionFailedError,
  HostDrainTimeoutError,
  InvalidOptionsError,
  type DbConnection,
  type DbConnectionOptions,
} from 'nestjs-db-context';
import { dbContextChannels, type HostDrainEvent } from 'nestjs-db-context/telemetry';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

/** An application between two hosts, each with a database of the same name and schema. */
interface TwoHosts {
  readonly app: TestApp;
  readonly connection: DbConnection;
  readonly session: EntityManager;
  readonly one: Host;
  readonly two: Host;
}

interface Host {
  readonly host: string;
  readonly proxy: WireProxy;
  /** What changes to it; the databases differ in name only. */
  readonly url: string;
  readonly texts: () => Promise<string[]>;
}

let at: TwoHosts;
let cleanUp: (() => Promise<void>)[] = [];

async function startHost(): Promise<Host> {
  const database: TestDatabase = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  const proxy = await WireProxy.start(database.url);
  cleanUp.push(async () => {
    await proxy.stop();
    await database.drop();
  });
  return {
    host: new URL(proxy.url).host,
    proxy,
    url: proxy.url,
    texts: async () =>
      (await database.query<{ text: string }>('select text from note order by text')).map(
        ({ text }) => text,
      ),
  };
}

async function start(
  limits: Parameters<typeof noteConnection>[1] = {},
  driverOptions: object = {},
): Promise<void> {
  const [one, two] = await Promise.all([startHost(), startHost()]);
  const app = await startApp({
    connections: [{ ...noteConnection(one.url, limits), driverOptions } as DbConnectionOptions],
  });
  at = { app, connection: app.connection(), session: app.session(), one, two };
  cleanUp.unshift(() => app.close());
}

afterEach(async () => {
  const steps = cleanUp;
  cleanUp = [];
  for (const step of steps) {
    await step();
  }
});

const insert = (text: string): Promise<unknown> => at.session.insert(Note, { text });
const save = (text: string): Promise<unknown> => at.app.dbContext.run(() => insert(text));

/** A transaction that is open until it is let go. */
function hold(text: string): {
  readonly begun: Promise<void>;
  readonly end: () => void;
  readonly result: Promise<unknown>;
} {
  const begun = deferred();
  const gate = deferred();
  const result = at.app.dbContext.run(async () => {
    await insert(text);
    begun.resolve();
    await gate.promise;
    await insert(`${text}, again`);
  });
  result.catch(() => undefined);
  return { begun: begun.promise, end: gate.resolve, result };
}

const oldIsClosed = (): Promise<void> =>
  waitFor(() => at.one.proxy.openConnections === 0, { what: 'the old host to be left' });

describe('changeHost()', () => {
  it('H1: sends new sessions to the new host; one in flight finishes on the old one', async () => {
    await start();
    expect(at.connection.host).toBe(at.one.host);
    const held = hold('old');
    await held.begun;

    await at.connection.changeHost(at.two.url);
    expect(at.connection.host).toBe(at.two.host);
    await save('new');
    expect(await at.two.texts()).toEqual(['new']);
    expect(at.one.proxy.openConnections).toBe(1);

    held.end();
    await held.result;
    expect(await at.one.texts()).toEqual(['old', 'old, again']);
    await oldIsClosed();
    expect(at.app.pool()).toMatchObject({ size: 5, checkedOut: 0, waiting: 0 });
  });

  it('H1: the next transaction of a running session goes to the new host', async () => {
    await start();
    await at.app.dbContext.run(async () => {
      await insert('old');
      await at.connection.changeHost(at.two.url);
      await insert('old, too');
      await at.app.dbContext.commit();
      await insert('new');
    });
    expect(await at.one.texts()).toEqual(['old', 'old, too']);
    expect(await at.two.texts()).toEqual(['new']);
    await oldIsClosed();
  });

  it('H1: orm.em follows, and so do a Kysely and a connection of MikroORM that somebody kept', async () => {
    await start();
    const { orm } = at.connection;
    const em = orm.em.fork() as EntityManager;
    const kysely = em.getKysely<{ note: { text: string } }>();
    const kept = em.getConnection();
    await em.insert(Note, { text: 'old' });
    await kysely.insertInto('note').values({ text: 'old, by Kysely' }).execute();

    await at.connection.changeHost(at.two.url);
    await em.insert(Note, { text: 'a' });
    await kysely.insertInto('note').values({ text: 'b' }).execute();
    await kept.execute(`insert into note (text) values ('c')`);
    await em.transactional((fork) => fork.insert(Note, { text: 'd' }));
    await em
      .getKysely<{ note: { text: string } }>()
      .insertInto('note')
      .values({ text: 'e' })
      .execute();
    expect(await at.two.texts()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(await at.one.texts()).toEqual(['old', 'old, by Kysely']);
    await oldIsClosed();
  });

  it('H1: the same host is a no-op, however it is written', async () => {
    await start();
    await save('a');
    const pool = await at.connection.pool();
    const { pathname } = new URL(at.one.url);
    for (const host of [at.one.host, at.one.url, `postgres://${at.one.host}${pathname}`]) {
      await at.connection.changeHost(host);
    }
    expect(await at.connection.pool()).toBe(pool);
    expect(at.one.proxy.openConnections).toBe(1);
  });

  it('H1: changes at the same time are made one after another, the last one wins', async () => {
    const pools: { readonly ending: boolean }[] = [];
    await start({}, { onPoolCreated: (pool: (typeof pools)[number]) => pools.push(pool) });
    await save('first');
    const { one, two } = at;
    const hosts = [two, one, two, two, one, two];
    await Promise.all(hosts.map(({ url }) => at.connection.changeHost(url)));
    expect(at.connection.host).toBe(two.host);
    // To two, to one, to two, nothing, to one, to two; each pool but the last is on its way out.
    expect(pools.map(({ ending }) => ending)).toEqual([true, true, true, true, true, false]);
    await save('last');
    expect(await two.texts()).toEqual(['last']);
    await oldIsClosed();
  });

  it('H1: what the host does not say stays as in the options; going back needs the host only', async () => {
    await start();
    // Both hosts lead to one server in the end, so it has the databases of both.
    await at.connection.changeHost(at.two.host);
    await save('by the name of the first');
    expect(await at.one.texts()).toEqual(['by the name of the first']);

    await at.connection.changeHost(at.two.url);
    await at.connection.changeHost(at.two.host);
    await save('its own database again');
    expect(await at.one.texts()).toHaveLength(2);
    expect(await at.two.texts()).toEqual([]);
  });

  it.each(['', '  ', 'a b', 'postgres://', 'db:99999'])(
    'H1: %j is an error, and changes nothing',
    async (host) => {
      await start();
      await expect(at.connection.changeHost(host)).rejects.toThrow(InvalidOptionsError);
      expect(at.connection.host).toBe(at.one.host);
      await save('a');
      expect(await at.one.texts()).toEqual(['a']);
    },
  );

  it('H1: after a host that refuses, the connection works again on a good one', async () => {
    await start();
    await save('a');
    at.two.proxy.refuse = true;
    await at.connection.changeHost(at.two.url);
    await expect(save('b')).rejects.toMatchObject({ constructor: ConnectionFailedError });
    await expect(at.connection.connect()).rejects.toThrow(ConnectionFailedError);
    await at.connection.changeHost(at.one.host);
    await save('c');
    expect(await at.one.texts()).toEqual(['a', 'c']);
    expect(at.app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });
});

describe('what waits while the host is changed', () => {
  it('H1: moves to the new host, although the old pool is exhausted', async () => {
    await start({ poolMax: 1 });
    const held = hold('old');
    await held.begun;
    const em = at.connection.orm.em.fork() as EntityManager;
    const waiting = [save('a'), save('b'), em.insert(Note, { text: 'past a session' })];
    await waitFor(() => at.app.pool().waiting === 3, { what: 'three to wait' });

    await at.connection.changeHost(at.two.url);
    // Each of them once: one is connecting, two are behind it.
    expect(at.app.pool()).toMatchObject({ checkedOut: 1, waiting: 2 });
    await Promise.all(waiting);
    expect(await at.two.texts()).toEqual(['a', 'b', 'past a session']);
    held.end();
    await held.result;
    await oldIsClosed();
    expect(at.app.pool()).toMatchObject({ size: 1, checkedOut: 0, waiting: 0 });
  });

  it('H1: so does a caller whose connection the old host never answers', async () => {
    await start();
    at.one.proxy.freeze();
    const saved = save('a');
    await waitFor(() => at.one.proxy.openConnections === 1, { what: 'the frozen connection' });
    await at.connection.changeHost(at.two.url);
    await saved;
    expect(await at.two.texts()).toEqual(['a']);
    at.one.proxy.thaw();
    await oldIsClosed();
  });

  it('H1: a caller that gives up first costs no connection of the new host', async () => {
    await start({ poolMax: 1, acquireTimeoutMs: 1_500 });
    const held = hold('old');
    await held.begun;
    const em = at.connection.orm.em.fork() as EntityManager;
    await expect(save('a')).rejects.toMatchObject({ code: 'ACQUIRE_TIMEOUT' });
    await expect(em.insert(Note, { text: 'b' })).rejects.toThrow('timeout exceeded');
    await at.connection.changeHost(at.two.url);
    held.end();
    await held.result;
    await oldIsClosed();
    expect(at.app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(await at.two.texts()).toEqual([]);
  });
});

describe('what stays on the old host', () => {
  it('H1, O1: is ended after hostDrainTimeoutMs, and its caller and subscribers get the reason', async () => {
    await start({ hostDrainTimeoutMs: 50 });
    const drains: HostDrainEvent[] = [];
    const keep = (event: HostDrainEvent): void => void drains.push(event);
    dbContextChannels.hostDrain.subscribe(keep);
    const { host } = at.one;
    const held = hold('old');
    await held.begun;
    await at.connection.changeHost(at.two.url);
    await oldIsClosed();
    held.end();
    await expect(held.result).rejects.toMatchObject({
      constructor: HostDrainTimeoutError,
      code: 'HOST_DRAIN_TIMEOUT',
      connectionName: 'default',
      host,
      timeoutMs: 50,
    });
    await waitFor(() => drains.length > 0, { what: 'the former pool to be closed' });
    dbContextChannels.hostDrain.unsubscribe(keep);
    expect(drains).toMatchObject([{ connection: { name: 'default' }, host, isForced: true }]);
    expect(drains[0]!.durationMs).toBeGreaterThanOrEqual(50);
    await save('new');
    expect([await at.one.texts(), await at.two.texts()]).toEqual([[], ['new']]);
  });

  it('H1: a statement that runs then is cancelled, and fails with the same error', async () => {
    await start({ hostDrainTimeoutMs: 50 });
    const running = at.app.dbContext.run(() => at.session.execute('select pg_sleep(60)'));
    const failed = expect(running).rejects.toThrow(HostDrainTimeoutError);
    await waitFor(() => at.one.proxy.log.some((sql) => sql.includes('pg_sleep')), {
      what: 'the statement',
    });
    await at.connection.changeHost(at.two.url);
    await failed;
    await oldIsClosed();
  });

  it('H1: so is what goes past the session', async () => {
    await start({ hostDrainTimeoutMs: 50 });
    const em = at.connection.orm.em.fork() as EntityManager;
    const failed = expect(em.execute('select pg_sleep(60)')).rejects.toThrow(/terminated|cancel/);
    await waitFor(() => at.one.proxy.log.length > 0, { what: 'the statement' });
    await at.connection.changeHost(at.two.url);
    await failed;
    await oldIsClosed();
  });

  it('H1: close() waits for it', async () => {
    await start();
    const held = hold('old');
    await held.begun;
    await at.connection.changeHost(at.two.url);
    await save('new');
    let isClosed = false;
    const closing = at.connection.close().then(() => {
      isClosed = true;
    });
    await waitFor(() => at.two.proxy.openConnections === 0, { what: 'the new pool to be closed' });
    expect(isClosed).toBe(false);
    held.end();
    await held.result;
    await closing;
    expect(await at.one.texts()).toEqual(['old', 'old, again']);
    await oldIsClosed();
  });

  it('H1: close() ends it after drainTimeoutMs', async () => {
    await start({ drainTimeoutMs: 50 });
    const held = hold('old');
    await held.begun;
    await at.connection.changeHost(at.two.url);
    await at.connection.close();
    await oldIsClosed();
    held.end();
    await expect(held.result).rejects.toThrow(HostDrainTimeoutError);
  });
});

describe('connect()', () => {
  it('H1: opens a connection before the first statement, and gives it back', async () => {
    await start();
    expect(at.one.proxy.openConnections).toBe(0);
    await at.connection.connect();
    expect(at.one.proxy.openConnections).toBe(1);
    expect(at.app.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
    await at.connection.connect(at.two.url);
    expect(at.connection.host).toBe(at.two.host);
    expect(at.two.proxy.openConnections).toBe(1);
    expect(at.two.proxy.log).toEqual([]);
    await oldIsClosed();
  });

  it('H1: says so when the server cannot be reached', async () => {
    await start();
    at.one.proxy.refuse = true;
    await expect(at.connection.connect()).rejects.toMatchObject({
      constructor: ConnectionFailedError,
      connectionName: 'default',
    });
    await expect(at.connection.connect('')).rejects.toThrow(InvalidOptionsError);
  });

  it('H1: after close() neither it nor changeHost() does anything', async () => {
    await start();
    await save('a');
    await at.connection.close();
    for (const call of [
      () => at.connection.connect(),
      () => at.connection.connect(at.two.url),
      () => at.connection.changeHost(at.two.url),
      () => at.connection.changeHost(at.one.host),
    ]) {
      await expect(call()).rejects.toMatchObject({
        constructor: ConnectionClosedError,
        code: 'CONNECTION_CLOSED',
        connectionName: 'default',
      });
    }
    await oldIsClosed();
    expect(at.two.proxy.openConnections).toBe(0);
  });
});
