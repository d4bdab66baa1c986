import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import { InvalidOptionsError } from 'nestjs-db-context';
import {
  createWorkerDatabase,
  WorkerDatabaseError,
  type WorkerDatabase,
  type WorkerDatabaseOptions,
} from 'nestjs-db-context/testing';
import { Client, type QueryResultRow } from 'pg';

import { deferred } from '../support/deferred.js';
import { NOTE_SCHEMA, Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FIXTURES = join(ROOT, 'test/fixtures/worker-database');
const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;

let server: Client;
let count = 0;
/** The template name of the running test, with which its databases are found and dropped. */
let name: string;

beforeAll(async () => {
  server = new Client({ connectionString: SERVER_URL });
  await server.connect();
});
afterAll(() => server.end());
beforeEach(() => {
  name = `wd_${process.pid}_${++count}`;
});
afterEach(async () => {
  for (const each of await databases()) {
    await server.query(`drop database "${each}" with (force)`);
  }
});

/** All databases of the running test, by name. */
async function databases(): Promise<string[]> {
  const { rows } = await server.query<{ datname: string }>(
    'select datname from pg_database where starts_with(datname, $1) order by 1',
    [`${name}_`],
  );
  return rows.map(({ datname }) => datname);
}

async function on<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const result = await client.query<Row>(sql);
    return result.rows;
  } finally {
    await client.end();
  }
}

const notes = async ({ url }: WorkerDatabase): Promise<string[]> =>
  (await on<{ text: string }>(url, 'select text from note order by id')).map((row) => row.text);

const prepared: string[] = [];
beforeEach(() => prepared.splice(0));

async function prepare(url: string): Promise<void> {
  prepared.push(new URL(url).pathname);
  await on(
    url,
    `${NOTE_SCHEMA};
     create table country (code text primary key, capital_note int);
     insert into country values ('AT'), ('CH');
     create table visit (id int generated always as identity, country text references country)`,
  );
}

const create = (
  { version, ...options }: Partial<WorkerDatabaseOptions> & { version?: string } = {},
  prepareWith: (url: string) => unknown = prepare,
): Promise<WorkerDatabase> =>
  createWorkerDatabase({
    serverUrl: SERVER_URL,
    template: { name, prepare: prepareWith, ...(version !== undefined && { version }) },
    ...options,
  });

describe('createWorkerDatabase()', () => {
  it('makes a copy of the template, and a new one each time it is asked for', async () => {
    const first = await create();
    expect(first.name).toBe(`${name}_worker_${process.env['JEST_WORKER_ID']}`);
    await on(first.url, "insert into note (text) values ('gone')");
    const again = await create();
    expect(again.name).toBe(first.name);
    expect(await notes(again)).toEqual([]);
    expect(await on(again.url, 'select code from country order by 1')).toEqual([
      { code: 'AT' },
      { code: 'CH' },
    ]);
    expect(prepared).toHaveLength(1);
    await again.drop();
    await again.drop();
    expect(await databases()).toEqual([expect.stringContaining('_template_')]);
  });

  it('is dropped by await using, also while clients are connected', async () => {
    const client = new Client({ connectionString: SERVER_URL });
    {
      await using database = await create();
      const connected = new Client({ connectionString: database.url });
      connected.on('error', () => undefined);
      await connected.connect();
    }
    await client.connect();
    await client.end();
    expect(await databases()).toHaveLength(1);
  });

  it('makes the template once for all who ask at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => create({ workerId: i })));
    expect(prepared).toHaveLength(1);
    expect(new Set(all.map((each) => each.name)).size).toBe(20);
    await Promise.all(
      all.map((each, i) => on(each.url, `insert into note (text) values ('${i}')`)),
    );
    expect(await Promise.all(all.map(notes))).toEqual(all.map((_, i) => [`${i}`]));
  });

  it('lets two that name the same worker take turns', async () => {
    await create();
    const both = await Promise.all([create(), create()]);
    expect(both[0].name).toBe(both[1].name);
    expect(await notes(both[1])).toEqual([]);
  });

  it('makes it anew for another version, keeps the one before, and drops older ones', async () => {
    for (const version of ['1', '2', '3', '2']) {
      await create({ version });
    }
    expect(prepared).toHaveLength(3);
    expect((await databases()).filter((each) => each.includes('_template_'))).toHaveLength(2);
    await create({ version: '1' });
    expect(prepared).toHaveLength(4);
  });

  it('uses nothing of a template whose prepare() failed', async () => {
    const failing = async (url: string): Promise<void> => {
      await prepare(url);
      throw new Error('no such migration');
    };
    const error: unknown = await create({}, failing).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WorkerDatabaseError);
    expect(error).toMatchObject({ code: 'WORKER_DATABASE', step: 'prepare' });
    expect((error as Error).message).toMatch(/no such migration.*Correct prepare\(\)/s);
    expect(await databases()).toEqual([]);
    await create();
    expect(prepared).toHaveLength(2);
  });

  it('uses nothing of one whose maker lost its lock, however far it came', async () => {
    const lockLost = async (url: string): Promise<void> => {
      await prepare(url);
      // The one that holds it has sent nothing since.
      const { rowCount } = await server.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where starts_with(query, $1)',
        [`create database "${name}_making_`],
      );
      expect(rowCount).toBe(1);
    };
    await expect(create({}, lockLost)).rejects.toMatchObject({ code: 'WORKER_DATABASE' });
    expect(await databases()).toEqual([expect.stringContaining('_making_')]);
    await create();
    expect(await databases()).toEqual([
      expect.stringContaining('_template_'),
      expect.stringContaining('_worker_'),
    ]);
  });

  it('does not mind that prepare() leaves a connection open', async () => {
    const client = new Client({ connectionString: SERVER_URL });
    await client.connect();
    await create({}, async (url) => {
      await prepare(url);
      const left = new Client({ connectionString: url });
      left.on('error', () => undefined);
      await left.connect();
    });
    await client.end();
    expect(await databases()).toHaveLength(2);
  });

  it('waits for another maker for as long as it may', async () => {
    const begun = deferred();
    const mayEnd = deferred();
    const slow = create({}, async (url) => {
      begun.resolve();
      await mayEnd.promise;
      await prepare(url);
    });
    await begun.promise;
    await expect(create({ workerId: 'b', prepareTimeoutMs: 50 })).rejects.toThrow(
      'longer than prepareTimeoutMs',
    );
    mayEnd.resolve();
    await slow;
  });

  it('keeps names apart that are odd or too long, and makes URLs of them that all can read', async () => {
    const long = 'x'.repeat(80);
    const ids = ['Große.1-a', 'a "b" / c?', 'a "b" / c#', `${long}1`, `${long}2`, 'ü'.repeat(40)];
    const all = await Promise.all(ids.map((workerId) => create({ workerId })));
    expect(new Set(all.map((each) => each.name)).size).toBe(ids.length);
    expect(all[0]!.name).toBe(`${name}_worker_Große.1-a`);
    for (const each of all) {
      expect(Buffer.byteLength(each.name)).toBeLessThanOrEqual(63);
      expect(await notes(each)).toEqual([]);
    }
  });

  it('keeps what the URL says besides', async () => {
    const url = new URL(SERVER_URL);
    url.protocol = 'postgresql:';
    url.pathname = '';
    url.searchParams.set('application_name', 'of the tests');
    const database = await create({ serverUrl: url.href });
    expect(new URL(database.url).password).toBe(url.password);
    const [row] = await on(
      database.url,
      "select current_database() as name, current_setting('application_name') as app",
    );
    expect(row).toEqual({ name: database.name, app: 'of the tests' });
  });

  it.each<readonly [string, Partial<WorkerDatabaseOptions>, string]>([
    ['a URL that is none', { serverUrl: 'localhost' }, 'serverUrl'],
    ['a URL of something else', { serverUrl: 'mysql://localhost/db' }, 'serverUrl'],
    ['no worker', { workerId: '' }, 'workerId'],
    ['no name', { template: { name: '', prepare } }, 'template.name'],
    ['no time', { prepareTimeoutMs: 0 }, 'prepareTimeoutMs'],
  ])('refuses %s', async (_, options, message) => {
    const creating = create(options);
    await expect(creating).rejects.toBeInstanceOf(InvalidOptionsError);
    await expect(creating).rejects.toThrow(message);
  });

  it('says what is wrong with the server or the role', async () => {
    const url = new URL(SERVER_URL);
    url.port = '1';
    await expect(create({ serverUrl: url.href })).rejects.toMatchObject({ step: 'connect' });

    await server.query(`create role "${name}" login password 'weak'`);
    try {
      const weak = new URL(SERVER_URL);
      weak.username = name;
      weak.password = 'wrong';
      await expect(create({ serverUrl: weak.href })).rejects.toMatchObject({ step: 'connect' });
      weak.password = 'weak';
      await expect(create({ serverUrl: weak.href })).rejects.toThrow('a role with CREATEDB');
    } finally {
      await server.query(`drop role "${name}"`);
    }
  });
});

describe('reset()', () => {
  it('puts rows and sequences back, with the connections of the application open', async () => {
    const database = await create();
    const app = await startApp({ connections: [noteConnection(database.url)] });
    const [before] = await on(
      database.url,
      'select oid from pg_database where datname = current_database()',
    );
    for (let round = 1; round <= 3; round++) {
      await app.dbContext.run(() => app.session().insert(Note, { text: 'committed' }));
      await on(database.url, "insert into visit (country) values ('AT'), ('CH')");
      expect(await on(database.url, 'select id from note')).toEqual([{ id: 1 }]);
      await database.reset();
      expect(await notes(database)).toEqual([]);
      expect(await on(database.url, 'select * from visit')).toEqual([]);
      expect(await on(database.url, 'select * from country')).toHaveLength(2);
    }
    // The database was not made anew: that would have closed the connections.
    expect(
      await on(database.url, 'select oid from pg_database where datname = current_database()'),
    ).toEqual([before]);
    await app.close();
    await database.drop();
  });

  it.each([
    ['changed', "update country set capital_note = 1 where code = 'AT'"],
    ['deleted', "delete from country where code = 'AT'"],
    ['added', "insert into country values ('LI')"],
    ['replaced', "delete from country; insert into country values ('AT'), ('CH')"],
    ['emptied with TRUNCATE', 'truncate country cascade'],
    ['left as they are, with a new table,', 'create table other (id int)'],
    ['left as they are, without a table,', 'drop table visit'],
  ])('rows of the template that were %s are as they were', async (_, sql) => {
    const database = await create();
    const look = (): Promise<unknown[]> =>
      on(database.url, 'select *, xmin from country order by code');
    const before = await look();
    await on(database.url, sql);
    await database.reset();
    expect(await look()).toEqual(before);
    expect(await on(database.url, 'select * from visit')).toEqual([]);
    expect(await on(database.url, "select to_regclass('other') as other")).toEqual([
      { other: null },
    ]);
    // And from then on as well.
    await on(database.url, "insert into note (text) values ('more')");
    await database.reset();
    expect(await notes(database)).toEqual([]);
    await database.drop();
  });

  it('waits for a transaction that is still writing', async () => {
    const database = await create();
    const writer = new Client({ connectionString: database.url });
    await writer.connect();
    await writer.query("begin; insert into note (text) values ('late')");
    const resetting = database.reset();
    const waits = async (): Promise<boolean> => {
      const { rows } = await server.query(
        'select from pg_stat_activity where datname = $1 and wait_event_type = $2',
        [database.name, 'Lock'],
      );
      return rows.length > 0;
    };
    while (!(await waits())) {
      // Polled on the server, which takes its time.
    }
    await writer.query('commit');
    await resetting;
    await writer.end();
    expect(await notes(database)).toEqual([]);
    await database.drop();
  });

  it('makes it anew for a role that is no superuser, policies or not', async () => {
    await server.query(`create role "${name}" login createdb password 'plain'`);
    const url = new URL(SERVER_URL);
    url.username = name;
    url.password = 'plain';
    const database = await create({ serverUrl: url.href }, async (made) => {
      await prepare(made);
      await on(
        made,
        `alter table note enable row level security; alter table note force row level security;
         create policy writing on note for insert with check (true)`,
      );
    });
    await on(database.url, "insert into note (text) values ('hidden')");
    await database.reset();
    const own = new URL(SERVER_URL);
    own.pathname = database.name;
    expect(await on(own.href, 'select * from note')).toEqual([]);
    await database.drop();
    for (const each of await databases()) {
      await server.query(`drop database "${each}" with (force)`);
    }
    await server.query(`drop role "${name}"`);
  });
});

describe('worker processes of Jest', () => {
  interface Run {
    readonly signal: NodeJS.Signals | null;
    readonly results:
      | { numPassedTests: number; numFailedTests: number; success: boolean }
      | undefined;
    readonly reported: readonly { prepared?: number; database?: string; pid?: number }[];
    readonly output: string;
  }

  async function runJest(pattern: string, ...args: readonly string[]): Promise<Run> {
    const directory = mkdtempSync(join(tmpdir(), 'nestjs-db-context-worker-database-'));
    try {
      const json = join(directory, 'results.json');
      const reportFile = join(directory, 'report');
      const jest = spawn(
        process.execPath,
        [
          '--experimental-vm-modules',
          '--disable-warning=ExperimentalWarning',
          join(ROOT, 'node_modules/jest/bin/jest.js'),
          '--config',
          join(FIXTURES, 'jest.config.mjs'),
          '--testPathPatterns',
          pattern,
          '--json',
          '--outputFile',
          json,
          ...args,
        ],
        {
          env: {
            ...process.env,
            WORKER_DATABASE_REPORT: reportFile,
            WORKER_DATABASE_TEMPLATE: name,
          },
          stdio: ['ignore', 'ignore', 'pipe'],
        },
      );
      const output = text(jest.stderr);
      const [, signal] = (await once(jest, 'close')) as [number | null, NodeJS.Signals | null];
      const read = (file: string): string | undefined => {
        try {
          return readFileSync(file, 'utf8');
        } catch {
          return undefined;
        }
      };
      const results = read(json);
      return {
        signal,
        results: results === undefined ? undefined : (JSON.parse(results) as Run['results']),
        reported: (read(reportFile) ?? '')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Run['reported'][number]),
        output: await output,
      };
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  it('four of them, over eight files, share a server and no rows', async () => {
    const { results, reported, output } = await runJest('writes-', '--maxWorkers=4');
    expect({ ...results, output }).toMatchObject({ success: true, numPassedTests: 40 });
    // The template was not there, so that all four raced for it.
    expect(reported.filter((each) => each.prepared !== undefined)).toHaveLength(1);
    const used = reported.filter((each) => each.database !== undefined);
    expect(used).toHaveLength(8);
    expect(new Set(used.map((each) => each.database)).size).toBe(4);
    expect(new Set(used.map((each) => each.pid)).size).toBe(4);
    expect(await databases()).toEqual([expect.stringContaining('_template_')]);
  }, 100_000);

  it('one that is killed while it makes the template leaves none', async () => {
    const { signal, results, reported } = await runJest('crash', '--runInBand');
    expect({ signal, results, reported }).toEqual({
      signal: 'SIGKILL',
      results: undefined,
      reported: [{ prepared: expect.any(Number) }],
    });
    expect(await databases()).toEqual([expect.stringContaining('_making_')]);
    const database = await create();
    expect(await notes(database)).toEqual([]);
    expect(prepared).toHaveLength(1);
    expect(await databases()).toHaveLength(2);
  }, 60_000);
});
