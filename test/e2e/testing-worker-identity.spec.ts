import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import {
  createWorkerDatabase,
  WrongDatabaseError,
  type WorkerDatabase,
} from 'nestjs-db-context/testing';
import { Client } from 'pg';

import { OneDatabaseProxy } from '../support/one-database-proxy.js';

const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;

const name = `wi_${process.pid}`;
let server: Client;
let proxy: OneDatabaseProxy;

/** Where `prepare()` was led to, one for each call. */
const prepared: unknown[] = [];

async function prepare(url: string): Promise<void> {
  prepared.push(await on(url, 'select current_database()'));
  await on(url, 'create table item (id int)');
}

async function on(url: string, sql: string): Promise<unknown> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return rows[0] === undefined ? undefined : Object.values(rows[0])[0];
  } finally {
    await client.end();
  }
}

const create = (serverUrl: string): Promise<WorkerDatabase> =>
  createWorkerDatabase({ serverUrl, template: { name, prepare }, workerId: 'a' });

async function databases(): Promise<string[]> {
  const { rows } = await server.query<{ datname: string }>(
    'select datname from pg_database where starts_with(datname, $1) order by 1',
    [name],
  );
  return rows.map(({ datname }) => datname);
}

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'nothing failed',
    (error: unknown) => error,
  );

/** Asserts that the error names the database that was asked for, and the one that was reached. */
function expectWrong(error: unknown, asked: unknown, reached: string): void {
  expect(error).toBeInstanceOf(WrongDatabaseError);
  expect(error).toMatchObject({
    code: 'WRONG_DATABASE',
    databaseName: asked,
    reachedName: reached,
    message: expect.stringMatching(new RegExp(`^A connection to .* reached "${reached}"`)),
  });
  expect((error as WrongDatabaseError).message).toContain(
    `"${(error as WrongDatabaseError).databaseName}"`,
  );
}

beforeAll(async () => {
  server = new Client({ connectionString: SERVER_URL });
  await server.connect();
  proxy = await OneDatabaseProxy.start(SERVER_URL);
});
afterAll(async () => {
  await proxy.stop();
  await server.end();
});
beforeEach(() => prepared.splice(0));
afterEach(async () => {
  proxy.database = undefined;
  for (const each of await databases()) {
    await server.query(`drop database "${each}" with (force)`);
  }
});

describe('createWorkerDatabase() behind a proxy that ignores the name of the database', () => {
  it('creates nothing and does not call prepare()', async () => {
    proxy.database = 'postgres';
    const error = await failureOf(create(proxy.url));
    expectWrong(error, expect.stringMatching(`^${name}_making_`), 'postgres');
    expect(prepared).toEqual([]);
    expect(await databases()).toEqual([]);
    expect(await on(SERVER_URL, "select to_regclass('item')")).toBeNull();
  });

  it('creates nothing where the URL of the server itself is led elsewhere', async () => {
    proxy.database = 'template1';
    expectWrong(await failureOf(create(proxy.url)), 'postgres', 'template1');
    expect(await databases()).toEqual([]);
  });

  it('deletes nothing in reset()', async () => {
    const database = await create(proxy.url);
    await server.query('create table item (id int); insert into item values (1)');
    try {
      proxy.cut();
      proxy.database = 'postgres';
      expectWrong(await failureOf(database.reset()), database.name, 'postgres');
      expect(await on(SERVER_URL, 'select count(*)::int from item')).toBe(1);
      // Where the proxy behaves again, so does the database.
      proxy.cut();
      proxy.database = undefined;
      await on(database.url, 'insert into item values (1)');
      await database.reset();
      expect(await on(database.url, 'select count(*)::int from item')).toBe(0);
    } finally {
      await server.query('drop table item');
    }
    await database.drop();
  });

  it('drops nothing in drop()', async () => {
    const database = await create(proxy.url);
    const before = await databases();
    proxy.cut();
    proxy.database = 'template1';
    expectWrong(await failureOf(database.drop()), 'postgres', 'template1');
    expect(await databases()).toEqual(before);
    proxy.cut();
    proxy.database = undefined;
    await database.drop();
    expect(await databases()).toEqual([expect.stringContaining('_template_')]);
  });
});

describe('createWorkerDatabase() on the socket of PGlite', () => {
  it('creates nothing in the only database that there is', async () => {
    const pglite = await PGlite.create();
    const socket = new PGLiteSocketServer({ db: pglite, port: 0, maxConnections: 10 });
    await socket.start();
    try {
      const error = await failureOf(
        create(`postgres://postgres:postgres@${socket.getServerConn()}/postgres`),
      );
      expectWrong(error, expect.stringMatching(`^${name}_making_`), 'postgres');
      expect(prepared).toEqual([]);
      const { rows } = await pglite.query(
        `select datname from pg_database where datname like '${name}%'`,
      );
      expect(rows).toEqual([]);
    } finally {
      await socket.stop();
      await pglite.close();
    }
  }, 60_000);
});
