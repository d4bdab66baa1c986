import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { defineConfig as definePGlite } from '@mikro-orm/pglite';
import { TransactionPropagation, type EntityManager } from '@mikro-orm/postgresql';
import { InvalidOptionsError, PoolDeadlockError } from 'nestjs-db-context';
import { TestTransaction } from 'nestjs-db-context/testing';
import { Client } from 'pg';
import Cursor from 'pg-cursor';

import { NOTE_SCHEMA, Note } from '../support/note.entity.js';
import { startPGlite, type PGliteServer } from '../support/pglite.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

/** The rows of the table in docs/testing.md, in its order. */
describe('PGlite in place of a server', () => {
  let server: PGliteServer;
  let app: TestApp;

  beforeAll(async () => {
    server = await startPGlite();
    await server.pglite.exec(NOTE_SCHEMA);
    app = await startApp({ connections: [noteConnection(server.url, { poolMax: 1 })] });
  }, 60_000);
  afterAll(async () => {
    await app.close();
    await server.close();
  });
  beforeEach(() => server.pglite.exec('truncate note restart identity'));
  afterEach(async () => {
    // A connection whose session is reset is given back a moment later.
    const isFree = (): boolean => app.pool().checkedOut === 0;
    await waitFor(isFree, { what: 'the connection to be given back' });
  });

  const run = <T>(callback: () => Promise<T>): Promise<T> => app.dbContext.run(callback);
  const insert = (text: string, em: EntityManager = app.session()): Promise<unknown> =>
    em.insert(Note, { text });
  const saved = async (): Promise<string[]> => {
    const { rows } = await server.pglite.query<{ text: string }>(
      'select text from note order by id',
    );
    return rows.map(({ text }) => text);
  };
  const execute = <T extends object>(sql: string): Promise<T[]> => app.session().execute<T[]>(sql);

  /** A client beside the pool, or the error of its log-in. */
  async function connectBeside(url = server.url): Promise<Client | Error> {
    const client = new Client({ connectionString: url });
    client.on('error', () => undefined);
    return client.connect().then(
      () => client,
      (error: unknown) => error as Error,
    );
  }

  it('the driver of @mikro-orm/pglite is refused at boot, with the way that works', async () => {
    const booting = startApp({ connections: [definePGlite({ entities: [Note] })] });
    await expect(booting).rejects.toBeInstanceOf(InvalidOptionsError);
    await expect(booting).rejects.toThrow(
      /"default" uses PgliteDriver, which has no pool of pg.*@electric-sql\/pglite-socket.*pool: \{ min: 0, max: 1 \}/s,
    );
  });

  it('transactions, savepoints, constraints, streams and cursors work', async () => {
    await run(async () => {
      await insert('committed');
      const undone = app.dbContext.atomic(
        async () => {
          await insert('undone');
          throw new Error('as asked');
        },
        { current: 'savepoint' },
      );
      await expect(undone).rejects.toThrow('as asked');
      const read: string[] = [];
      for await (const { text } of app.session().stream(Note)) {
        read.push(text);
      }
      expect(read).toEqual(['committed']);
      const cursorRows = await app.dbContext.withClient(async (client: Client) => {
        const cursor = client.query(new Cursor<{ text: string }>('select text from note'));
        const rows = await cursor.read(5);
        await cursor.close();
        return rows;
      });
      expect(cursorRows).toEqual([{ text: 'committed' }]);
    });
    await expect(run(() => insert('committed'))).rejects.toMatchObject({ code: '23505' });
    expect(await saved()).toEqual(['committed']);
  });

  it('T1: a shared test transaction works, with new transactions in it', async () => {
    const db = await TestTransaction.begin(app.app);
    await insert('prepared', db.session());
    await run(async () => {
      await insert('outer');
      await app.dbContext.runInNewContext(() => insert('of a new context'));
      await app.dbContext.newAtomicSession((session) => insert('of a new session', session));
      await app.session().transactional((em) => insert('requires_new', em), {
        propagation: TransactionPropagation.REQUIRES_NEW,
      });
    });
    expect(await db.session().count(Note)).toBe(5);
    await db.end();
    expect(await saved()).toEqual([]);
  });

  it('without one, two at once take turns, and what needs a second connection is refused', async () => {
    await Promise.all(['a', 'b', 'c'].map((text) => run(() => insert(text))));
    expect((await saved()).toSorted()).toEqual(['a', 'b', 'c']);

    const needsTwo = run(async () => {
      await insert('d');
      await app.dbContext.newAtomicSession((session) => insert('e', session));
    });
    await expect(needsTwo).rejects.toBeInstanceOf(PoolDeadlockError);
    expect(await saved()).toHaveLength(3);
  });

  it('a second connection is refused, a health check among them', async () => {
    await run(() => insert('pooled'));
    expect(await connectBeside()).toBeInstanceOf(Error);
    expect(await app.connection().check()).toMatchObject({ isReachable: false });
  });

  it('limits of the server have no effect: statementTimeoutMs', async () => {
    const slow = run(() =>
      app.dbContext.atomic(() => execute('select pg_sleep(0.2)'), { statementTimeoutMs: 50 }),
    );
    await expect(slow).resolves.toHaveLength(1);
  });

  it('isolation levels, variables and settings are as asked, and none stays', async () => {
    const settings = {
      isolationLevel: 'serializable',
      sessionVariables: { 'app.tenant': 'a' },
    } as const;
    const asked =
      "select current_setting('transaction_isolation') as level, current_setting('app.tenant', true) as tenant";
    const inside = await run(() => app.dbContext.atomic(() => execute(asked), settings));
    expect(inside).toEqual([{ level: 'serializable', tenant: 'a' }]);
    await run(() => execute("set app.rest = 'behind'"));
    expect(await run(() => execute("select current_setting('app.rest', true) as rest"))).toEqual([
      { rest: expect.not.stringContaining('behind') },
    ]);
  });

  it('all connections are one session, whatever they call their database', async () => {
    const socket = new PGLiteSocketServer({ db: server.pglite, port: 0, maxConnections: 2 });
    await socket.start();
    const url = `postgres://postgres@${socket.getServerConn()}/some_worker_database`;
    const [one, other] = (await Promise.all([connectBeside(url), connectBeside(url)])) as [
      Client,
      Client,
    ];
    await one.query("set app.whose = 'the first'; select pg_advisory_lock(1)");
    const { rows } = await other.query(
      "select current_setting('app.whose') as whose, pg_try_advisory_lock(1) as got, current_database() as name",
    );
    expect(rows).toEqual([{ whose: 'the first', got: true, name: 'postgres' }]);
    await one.query('discard all');
    await Promise.all([one.end(), other.end()]);
    await socket.stop();
  });
});
