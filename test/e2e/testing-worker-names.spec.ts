import { isDeepStrictEqual } from 'node:util';

import {
  createWorkerDatabase,
  WorkerDatabaseError,
  type WorkerDatabase,
  type WorkerDatabaseOptions,
} from 'nestjs-db-context/testing';
import { Client, type QueryResultRow } from 'pg';

import { lockKeyOf } from '../../lib/testing/worker-database/database-names.js';
import { AppProcess } from '../support/app-process.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import { OneDatabaseProxy } from '../support/one-database-proxy.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;

let server: Client;
let count = 0;
/** The template name of the running test, with which its databases are found and dropped. */
let name: string;
/** What the running test has created. */
let created: WorkerDatabase[];
let prepared: number;

beforeAll(async () => {
  server = new Client({ connectionString: SERVER_URL });
  await server.connect();
});
afterAll(() => server.end());
beforeEach(() => {
  name = `wn_${process.pid}_${++count}`;
  created = [];
  prepared = 0;
});
afterEach(async () => {
  await Promise.all(created.map((database) => database.drop()));
  for (const each of await databases()) {
    await server.query(`drop database "${each}" with (force)`);
  }
});

async function databases(prefix = `${name}_`): Promise<string[]> {
  const { rows } = await server.query<{ datname: string }>(
    'select datname from pg_database where starts_with(datname, $1) order by 1',
    [prefix],
  );
  return rows.map(({ datname }) => datname);
}

async function on<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

const oidOf = async ({ url }: WorkerDatabase): Promise<unknown[]> =>
  on(url, 'select oid from pg_database where datname = current_database()');

type CreateOptions = Partial<Omit<WorkerDatabaseOptions, 'template' | 'workerId'>> & {
  readonly version?: string;
  /** `undefined`: the one of the environment. */
  readonly workerId?: string | undefined;
};

async function create(given: CreateOptions = {}): Promise<WorkerDatabase> {
  const { version, workerId, ...options } = { workerId: 'a', ...given };
  const database = await createWorkerDatabase({
    serverUrl: SERVER_URL,
    ...(workerId !== undefined && { workerId }),
    template: {
      name,
      prepare: async (url) => {
        prepared++;
        await on(
          url,
          `${NOTE_SCHEMA}; create table country (code text primary key); insert into country values ('AT')`,
        );
      },
      ...(version !== undefined && { version }),
    },
    ...options,
  });
  created.push(database);
  return database;
}

/** Whether nobody has the lock of a name, as after the server has noticed the end of its connection. */
async function isUnclaimed(database: string): Promise<boolean> {
  const key = lockKeyOf(database);
  const { rows } = await server.query<{ taken: boolean }>(
    'select pg_try_advisory_lock($1) as taken',
    [key],
  );
  await server.query('select pg_advisory_unlock_all()');
  return rows[0]!.taken;
}

describe('the name of a worker database', () => {
  const RUNNERS = ['VITEST_POOL_ID', 'JEST_WORKER_ID', 'MOCHA_WORKER_ID', 'NODE_TEST_WORKER_ID'];

  it('is that of the worker of the test runner', async () => {
    const before = { ...process.env };
    try {
      const names: string[] = [];
      for (const runner of RUNNERS) {
        for (const each of RUNNERS) delete process.env[each];
        process.env[runner] = `of ${runner}`;
        names.push((await create({ workerId: undefined })).name);
      }
      for (const each of RUNNERS) delete process.env[each];
      names.push((await create({ workerId: undefined })).name);
      const ids = [...RUNNERS.map((runner) => `of_${runner}`), String(process.pid)];
      expect(names).toEqual(ids.map((id) => expect.stringContaining(`${name}_worker_${id}`)));
    } finally {
      for (const each of RUNNERS) {
        if (before[each] === undefined) delete process.env[each];
        else process.env[each] = before[each];
      }
    }
  });

  it('is the next one that is free while another has it, and free again when it is closed', async () => {
    const [first, second] = [await create(), await create()];
    expect([first.name, second.name]).toEqual([`${name}_worker_a`, `${name}_worker_a_2`]);
    await on(first.url, "insert into note (text) values ('of the first')");
    await second.reset();
    expect(await on(first.url, 'select text from note')).toEqual([{ text: 'of the first' }]);
    await first.close();
    expect((await create()).name).toBe(first.name);
  });

  it('is not one of a database that the kit has not made, which is left alone', async () => {
    const foreign = [`${name}_worker_a`, `${name}_worker_b`, `${name}_copy_shop`];
    for (const each of foreign) await server.query(`create database "${each}"`);
    await server.query(`comment on database "${name}_worker_b" is 'orders of the shop'`);
    const database = await create();
    expect(database.name).toBe(`${name}_worker_a_2`);
    await database.close();
    const left = await databases();
    expect(left.filter((each) => !each.includes('_template_')).toSorted()).toEqual(
      foreign.toSorted(),
    );
  });

  it('is lost to another process that takes it while the connection that keeps it is down', async () => {
    const proxy = await OneDatabaseProxy.start(SERVER_URL);
    const first = await create({ serverUrl: proxy.url });
    proxy.isRefusing = true;
    proxy.cut();
    await waitFor(() => isUnclaimed(first.name), { what: 'the end of the claim' });
    const second = await create();
    expect(second.name).toBe(first.name);
    proxy.isRefusing = false;
    await on(second.url, "insert into note (text) values ('of the second')");
    for (const end of [() => first.reset(), () => first.drop()]) {
      const error: unknown = await end().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(WorkerDatabaseError);
      expect(error).toMatchObject({ code: 'WORKER_DATABASE', step: 'claim' });
      expect((error as Error).message).toMatch(/another process has taken it.*next free name/s);
    }
    expect(await on(second.url, 'select text from note')).toEqual([{ text: 'of the second' }]);
    await second.drop();
    // The name is free again, so that the first may claim and drop what has it.
    await first.drop();
    await proxy.stop();
  });
});

describe('reuse', () => {
  it('keeps the database, and looks it over', async () => {
    const first = await create({ reuse: true });
    const oid = await oidOf(first);
    await on(first.url, "insert into note (text) values ('left')");
    await first.close();
    await first.close();
    for (const sql of [
      "insert into note (text) values ('left, too')",
      'select 1',
      // After a reset the rows of the template have other marks, which the next one has to know.
      "delete from country; insert into country values ('LI')",
      'select 1',
    ]) {
      const again = await create({ reuse: true });
      expect([again.name, await oidOf(again)]).toEqual([first.name, oid]);
      expect(await on(again.url, 'select text from note')).toEqual([]);
      expect(await on(again.url, 'select code from country')).toEqual([{ code: 'AT' }]);
      await on(again.url, sql);
      await again.reset();
      await on(again.url, "insert into note (text) values ('after the last reset')");
      await again.close();
    }
    expect(prepared).toBe(1);
  });

  it.each([
    ['puts rows of the template back that a test has deleted', 'delete from country', true],
    ['makes it anew where a column was added', 'alter table note add other int', false],
  ])('%s', async (_, sql, isSame) => {
    const first = await create({ reuse: true });
    const oid = await oidOf(first);
    await on(first.url, sql);
    await first.close();
    const again = await create({ reuse: true });
    expect(isDeepStrictEqual(await oidOf(again), oid)).toBe(isSame);
    expect(await on(again.url, 'select * from country, (select count(*) from note) n')).toEqual([
      { code: 'AT', count: '0' },
    ]);
  });

  it('makes it anew for another version, and drops those of versions that are gone', async () => {
    for (const [workerId, version] of Object.entries({ a: '1', b: '1', c: '2' })) {
      const database = await create({ reuse: true, workerId, version });
      await database.close();
    }
    const before = await databases(`${name}_worker_`);
    expect(before).toEqual(['a', 'b', 'c'].map((id) => `${name}_worker_${id}`));
    const first = await create({ reuse: true, workerId: 'a', version: '3' });
    expect(await databases(`${name}_worker_`)).toEqual([first.name, `${name}_worker_c`]);
    expect(prepared).toBe(3);
  });

  it.each([true, false])('is closed once where it is closed twice at once: %s', async (reuse) => {
    const database = await create({ reuse });
    await Promise.all([database.close(), database.close(), database[Symbol.asyncDispose]()]);
    expect(await databases(`${name}_worker_`)).toEqual(reuse ? [database.name] : []);
    expect(await isUnclaimed(database.name)).toBe(true);
  });

  it('drops it nonetheless with drop(), and is not used without the option', async () => {
    const first = await create({ reuse: true });
    await first.close();
    const second = await create();
    expect(second.name).toBe(first.name);
    await second.close();
    expect(await databases(`${name}_worker_`)).toEqual([]);
    await expect(second.reset()).rejects.toThrow('closed or dropped before');
    const third = await create({ reuse: true });
    await third.drop();
    expect(await databases(`${name}_worker_`)).toEqual([]);
  });
});

describe('what a process leaves that dies', () => {
  it.each([
    ['another worker', { workerId: 'b' }],
    ['the same worker', { workerId: 'a' }],
  ])('in the middle of a reset is swept by %s', async (_, next) => {
    const left = await dieInReset({ workerId: 'a' });
    expect(await databases(`${name}_worker_`)).toEqual([left]);
    const database = await create(next);
    expect(database.name).toBe(`${name}_worker_${next.workerId}`);
    expect(await databases(`${name}_worker_`)).toEqual([database.name]);
    expect(await on(database.url, 'select * from note')).toEqual([]);
  });

  it('in the middle of a reset is put back where it is kept', async () => {
    const left = await dieInReset({ workerId: 'a', reuse: true });
    const oid = await server.query('select oid from pg_database where datname = $1', [left]);
    const database = await create({ reuse: true });
    expect([database.name, await oidOf(database)]).toEqual([left, oid.rows]);
    expect(await on(database.url, 'select * from note')).toEqual([]);
  });

  it('in the middle of a copy is swept', async () => {
    const proxy = await WireProxy.start(SERVER_URL);
    proxy.cutBefore(/^comment on database .*_copy_/);
    await expect(create({ serverUrl: proxy.url })).rejects.toMatchObject({ step: 'create' });
    await proxy.stop();
    const unfinished = expect.stringContaining('_copy_') as string;
    expect(await databases()).toEqual([unfinished, expect.stringContaining('_template_')]);
    const database = await create();
    expect(await databases()).toEqual([expect.stringContaining('_template_'), database.name]);
  });

  /** @returns the name of the database of a worker that was killed */
  async function dieInReset(options: Partial<WorkerDatabaseOptions>): Promise<string> {
    const worker = await AppProcess.start('test/fixtures/worker-database/resets-and-waits.ts', {
      serverUrl: SERVER_URL,
      template: name,
      ...options,
    });
    const database = decodeURIComponent(new URL(worker.url).pathname.slice(1));
    const isWaiting = async (): Promise<boolean> => {
      const { rows } = await server.query(
        "select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'",
        [database],
      );
      return rows.length > 0;
    };
    await waitFor(isWaiting, { what: 'the reset of the worker' });
    await worker.kill();
    await waitFor(() => isUnclaimed(database), { what: 'the end of the claim' });
    return database;
  }
});
