import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { ConnectionClosedError, type DbConnectionOptions } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const APPLICATION = 'closed_connection';
const CLOSED = {
  constructor: ConnectionClosedError,
  code: 'CONNECTION_CLOSED',
  connectionName: 'default',
  cutOffAfterMs: undefined,
  message: expect.stringMatching(
    new RegExp(
      '^The connection "default"( in the context of [\\w.]+\\(\\))? is closed, by close\\(\\) or because ' +
        'the application shuts down; no connection to its server is opened any more\\. End what uses it before ' +
        'that, or look at isClosed\\.\\nSee nestjs-db-context/docs/errors\\.md#connection_closed$',
    ),
  ),
};

describe('a connection after close()', () => {
  let database: TestDatabase;
  let at: TestApp | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterEach(async () => {
    await at?.close();
    at = undefined;
    await database.query('truncate note restart identity');
  });
  afterAll(() => database.drop());

  const start = async (connection: DbConnectionOptions = ownOptions()): Promise<TestApp> =>
    (at = await startApp({ connections: [connection] }));
  const ownOptions = (): DbConnectionOptions =>
    noteConnection(database.url, { applicationName: APPLICATION });
  const backends = async (): Promise<number> => {
    const [row] = await database.query<{ count: number }>(
      'select count(*)::int as count from pg_stat_activity where application_name = $1',
      [APPLICATION],
    );
    return row!.count;
  };
  const noBackends = (): Promise<void> =>
    waitFor(async () => (await backends()) === 0, { what: 'the server to have no connection' });
  const savedTexts = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by id')).map(
      ({ text }) => text,
    );
  const insert = (em: EntityManager, text: string): Promise<unknown> => em.insert(Note, { text });

  it('H3: no way leads to the database any more, and no connection is left', async () => {
    const { app, dbContext, connection, session } = await start();
    await dbContext.run(() => insert(session(), 'before'));
    const { orm } = connection();
    const pool = await connection().pool();
    const globalEm = orm.em as EntityManager;
    const kysely = globalEm.getKysely<{ note: { id: number } }>();
    await connection().close();
    await noBackends();

    const ways: Record<string, () => Promise<unknown>> = {
      'dbContext.run()': () => dbContext.run(() => insert(session(), 'run')),
      'dbContext.atomic()': () =>
        dbContext.run(() => dbContext.atomic(() => insert(session(), 'atomic'))),
      'a query builder': () =>
        dbContext.run(async () => session().createQueryBuilder(Note).getResultList()),
      'a raw query': () => dbContext.run(() => session().execute('select 1')),
      'the flush of the commit': () =>
        dbContext.run(async () => void session().persist(new Note('persisted'))),
      'dbContext.runInNewContext()': () =>
        dbContext.runInNewContext(() => insert(session(), 'own context')),
      'dbContext.newSession()': () =>
        dbContext.newSession((own) => insert(own, 'session of its own')),
      'dbContext.newAtomicSession()': () =>
        dbContext.newAtomicSession((own) => insert(own, 'atomic, of its own')),
      'dbContext.withClient()': () =>
        dbContext.run(() => dbContext.withClient((client) => client.query('select 1'))),
      'connection.connect()': () => connection().connect(),
      'the global entity manager': () => insert(globalEm.fork(), 'past the sessions'),
      'em.transactional() of a fork': () => globalEm.fork().transactional((em) => insert(em, 'x')),
      'the pool of MikroORM': async () =>
        (await globalEm.getDriver().getConnection().getNativeClient()).connect(),
      'a pool that code has kept': () => pool.connect(),
      'its query()': () =>
        (pool as unknown as EntityManager & { query(sql: string): Promise<unknown> }).query(
          'select 1',
        ),
      'a Kysely instance that code has kept': () => kysely.selectFrom('note').selectAll().execute(),
      // MikroORM connects to nothing by itself.
      'orm.connect()': () => orm.connect().then(() => insert(globalEm.fork(), 'connected')),
      'orm.reconnect()': () => orm.reconnect().then(() => insert(globalEm.fork(), 'reconnected')),
    };
    const outcomes: Record<string, unknown> = {};
    for (const [way, go] of Object.entries(ways)) {
      outcomes[way] = await go().then(
        () => 'went through',
        (error: unknown) => error,
      );
    }
    expect(outcomes).toEqual(
      Object.fromEntries(Object.keys(ways).map((way) => [way, expect.objectContaining(CLOSED)])),
    );
    expect(connection().isClosed).toBe(true);
    expect(await backends()).toBe(0);
    await app.close();
    expect(await backends()).toBe(0);
    expect(await savedTexts()).toEqual(['before']);
  });

  it('H3: nor after close() of a connection that nothing has used', async () => {
    const { dbContext, connection, session } = await start();
    await connection().close();
    await expect(dbContext.run(() => insert(session(), 'late'))).rejects.toMatchObject(CLOSED);
    await expect(insert(connection().orm.em.fork() as EntityManager, 'late')).rejects.toMatchObject(
      CLOSED,
    );
    expect(await backends()).toBe(0);
  });

  it('H3: what runs as it closes ends well, and nothing new begins', async () => {
    const { dbContext, connection, session } = await start();
    const [inserted, mayEnd] = [deferred(), deferred()];
    const running = dbContext.run(async () => {
      await insert(session(), 'in time');
      inserted.resolve();
      await mayEnd.promise;
      await insert(session(), 'also');
      await dbContext.atomic(async () => void session().persist(new Note('at the end')), {
        current: 'savepoint',
      });
    });
    await inserted.promise;
    expect(await backends()).toBe(1);
    const first = connection().close();
    let hasClosed = false;
    const second = connection()
      .close()
      .then(() => void (hasClosed = true));
    await expect(dbContext.runInNewContext(() => insert(session(), 'new'))).rejects.toMatchObject(
      CLOSED,
    );
    await expect(
      insert(connection().orm.em.fork() as EntityManager, 'past the sessions'),
    ).rejects.toMatchObject(CLOSED);
    expect(hasClosed).toBe(false);
    mayEnd.resolve();
    await running;
    await Promise.all([first, second]);
    await noBackends();
    expect(await savedTexts()).toEqual(['in time', 'also', 'at the end']);
  });

  it('H3: an orm that was handed over stays open, and its sessions do not', async () => {
    const orm = await MikroORM.init(
      defineConfig({
        clientUrl: database.url,
        entities: [Note],
        ensureDatabase: false,
        driverOptions: { application_name: APPLICATION },
      }),
    );
    try {
      const { dbContext, connection, session } = await start({ orm });
      await dbContext.run(() => insert(session(), 'before'));
      await connection().close();
      await expect(dbContext.run(() => insert(session(), 'late'))).rejects.toMatchObject(CLOSED);
      await insert(orm.em.fork(), "the application's own");
      expect(await savedTexts()).toEqual(['before', "the application's own"]);
    } finally {
      await orm.close();
    }
    await noBackends();
  });
});
