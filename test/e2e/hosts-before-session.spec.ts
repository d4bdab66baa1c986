import type { EntityManager } from '@mikro-orm/postgresql';
import { ServiceUnavailableException } from '@nestjs/common';
import {
  BeforeSessionError,
  HookTimeoutError,
  InvalidTransactionStateError,
  type DbConnection,
  type DbConnectionOptions,
} from 'nestjs-db-context';
import { Client } from 'pg';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

describe('beforeSession', () => {
  let database: TestDatabase;
  let one: WireProxy;
  let two: WireProxy;
  let app: TestApp | undefined;
  /** What the hook does in a test. */
  let hook: (connection: DbConnection) => void | Promise<void>;
  let calls: number;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());

  beforeEach(async () => {
    await database.query('truncate note');
    [one, two] = await Promise.all([WireProxy.start(database.url), WireProxy.start(database.url)]);
    hook = () => undefined;
    calls = 0;
  });
  afterEach(async () => {
    expect(app?.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    await app?.close();
    await Promise.all([one.stop(), two.stop()]);
  });

  async function start(
    limits: Parameters<typeof noteConnection>[1] = {},
    others: DbConnectionOptions[] = [],
  ): Promise<TestApp> {
    const beforeSession = async (connection: DbConnection): Promise<void> => {
      calls++;
      await hook(connection);
    };
    app = await startApp({
      connections: [noteConnection(one.url, { ...limits, beforeSession }), ...others],
    });
    return app;
  }

  const insert = (em: EntityManager, text: string): Promise<unknown> => em.insert(Note, { text });

  it('H2: is awaited before a transaction takes its connection, and once for each', async () => {
    const { dbContext, session, pool } = await start();
    const gate = deferred();
    hook = () => gate.promise;
    const saved = dbContext.run(async () => {
      await Promise.all([insert(session(), 'a'), insert(session(), 'b')]);
      await dbContext.commit();
      await insert(session(), 'c');
    });
    expect([one.openConnections, pool().checkedOut]).toEqual([0, 0]);
    gate.resolve();
    await saved;
    expect(calls).toBe(2);
    expect(await database.query('select text from note order by text')).toHaveLength(3);
  });

  it('H2: is not called for a context that sends nothing', async () => {
    const { dbContext, session } = await start();
    await dbContext.run(async () => {
      session().persist(new Note('a'));
      session().clear();
    });
    expect(calls).toBe(0);
  });

  it('H2: finds the primary: a failover between two transactions goes unnoticed', async () => {
    const { dbContext, session, connection } = await start();
    let primary = one;
    // A client of its own, as a helper that asks pg_is_in_recovery() has it.
    hook = async (it) => {
      for (const { url } of [primary, primary === one ? two : one]) {
        const client = new Client({ connectionString: url });
        client.on('error', () => undefined);
        try {
          await client.connect();
          const { rows } = await client.query('select pg_is_in_recovery() as standby');
          if (rows[0].standby === false) {
            await it.changeHost(url);
            return;
          }
        } catch {
          // The next one, then.
        } finally {
          await client.end();
        }
      }
    };
    await dbContext.run(() => insert(session(), 'a'));
    expect(connection().host).toBe(new URL(one.url).host);

    one.refuse = true;
    one.cut();
    primary = two;
    await Promise.all(
      Array.from({ length: 20 }, (_, each) =>
        dbContext.run(() => insert(session(), `after ${each}`)),
      ),
    );
    expect(connection().host).toBe(new URL(two.url).host);
    expect(calls).toBe(21);
    expect(await database.query('select from note')).toHaveLength(21);
    expect(two.log.filter((sql) => sql === 'commit')).toHaveLength(20);
  });

  it('H2: may use the pool itself', async () => {
    const { dbContext, session } = await start({ poolMax: 1 });
    hook = async (connection) => {
      await connection.connect();
      await (connection.orm.em.fork() as EntityManager).execute('select 1');
    };
    await Promise.all(
      [1, 2, 3].map((each) => dbContext.run(() => insert(session(), `note ${each}`))),
    );
    expect(await database.query('select from note')).toHaveLength(3);
  });

  it('H2: what it throws is the cause of what the statement fails with; the next one calls it anew', async () => {
    const { dbContext, session } = await start();
    const thrown = new ServiceUnavailableException('no primary');
    hook = () => {
      throw thrown;
    };
    await expect(dbContext.run(() => insert(session(), 'a'))).rejects.toMatchObject({
      constructor: BeforeSessionError,
      code: 'BEFORE_SESSION_FAILED',
      connectionName: 'default',
      message: expect.stringMatching(
        /^beforeSession\(\) of connection "default" in the context of .* failed: no primary\. /,
      ),
      cause: thrown,
    });
    hook = () => Promise.reject(undefined);
    await expect(dbContext.run(() => insert(session(), 'a'))).rejects.toMatchObject({
      constructor: BeforeSessionError,
      message: expect.stringContaining('failed: undefined. '),
    });
    hook = () => Promise.reject(new Error('still none'));
    await expect(dbContext.run(() => insert(session(), 'b'))).rejects.toThrow('still none');
    expect(one.openConnections).toBe(0);
    hook = () => undefined;
    await dbContext.run(() => insert(session(), 'c'));
    expect(await database.query('select text from note')).toEqual([{ text: 'c' }]);
  });

  it('H2: is waited for no longer than acquireTimeoutMs', async () => {
    const { dbContext, session } = await start({ acquireTimeoutMs: 50 });
    const gate = deferred();
    hook = () => gate.promise;
    await expect(dbContext.run(() => insert(session(), 'a'))).rejects.toMatchObject({
      constructor: HookTimeoutError,
      hook: 'beforeSession',
      connectionName: 'default',
      timeoutMs: 50,
    });
    expect(one.openConnections).toBe(0);
    gate.resolve();
  });

  it.each([
    ['the session itself', async (it: TestApp) => insert(it.session(), 'x')],
    ['a session in no context', (it: TestApp) => it.dbContext.newSession((em) => insert(em, 'x'))],
    [
      'a context of its own',
      (it: TestApp) => it.dbContext.runInNewContext(() => insert(it.session(), 'x')),
    ],
    [
      'a session of another connection that uses this one',
      (it: TestApp) =>
        it.dbContext.newSession((em) => em.execute('select 1'), {
          connection: 'other',
        }),
    ],
  ])('H2: gets an error when it uses %s', async (_what, use) => {
    const other = noteConnection(two.url, {
      name: 'other',
      beforeSession: async () => {
        await started.dbContext.newSession((em) => em.execute('select 1'));
      },
    });
    const started = await start({}, [other]);
    hook = async () => {
      await use(started);
    };
    const failed = started.dbContext.run(() => insert(started.session(), 'a'));
    await expect(failed).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      message: expect.stringContaining('beforeSession() used a session of the connection'),
    });
    expect(calls).toBe(1);
    expect(await database.query('select from note')).toEqual([]);
  });

  it('H2: what it started and left behind may use sessions once it is over', async () => {
    const { dbContext, session } = await start();
    const isOver = deferred();
    let later: Promise<unknown> = Promise.resolve();
    hook = () => {
      hook = () => undefined;
      later = isOver.promise.then(() => dbContext.newAtomicSession((em) => insert(em, 'later')));
    };
    await dbContext.run(() => insert(session(), 'a'));
    isOver.resolve();
    await later;
    expect(await database.query('select text from note order by text')).toEqual([
      { text: 'a' },
      { text: 'later' },
    ]);
  });
});
