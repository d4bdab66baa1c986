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
    await first.close();
    await first.close();
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

  it('makes it anew for another version, keeps the one before, and drops older ones', async () => {
    for (const version of ['1', '2', '3', '2']) {
      await create({ version }).then((database) => database.close());
    }
    expect(prepared).toHaveLength(3);
    expect(await databases()).toEqual([
      expect.stringContaining('_template_'),
      expect.stringContaining('_template_'),
    ]);
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

  it('says what failed in prepare() also where a client is still connected, which is not ended', async () => {
    let left!: Client;
    const ended: Error[] = [];
    const failing = async (url: string): Promise<void> => {
      left = new Client({ connectionString: url });
      left.on('error', (error) => ended.push(error));
      await left.connect();
      throw new Error('no such migration');
    };
    await expect(create({}, failing)).rejects.toMatchObject({
      step: 'prepare',
      message: expect.stringContaining('no such migration'),
    });
    await create();
    expect((await left.query('select 1')).rowCount).toBe(1);
    expect(ended).toEqual([]);
    await left.end();
    await create({ version: 'another' });
    expect(await databases()).not.toContainEqual(expect.stringContaining('_making_'));
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

  const oidOf = async ({ url }: WorkerDatabase): Promise<unknown[]> =>
    on(url, 'select oid from pg_database where datname = current_database()');

  it('puts rows of the template back that a test has changed, in the same database', async () => {
    const odd = `
      create table "odd ""one" (
        id int generated always as identity primary key, gone int,
        doubled int generated always as (id * 2) stored, "kept.line" text[], at timestamptz, raw bytea,
        up int references "odd ""one", document jsonb);
      alter table "odd ""one" drop column gone;
      insert into "odd ""one" ("kept.line", at, raw, up, document) values
        ('{"a,b",null,"\\"c\\""}', '2026-01-02 03:04:05.678901+02', '\\xff00', null, 'null'),
        (null, 'infinity', null, 1, '{"a": 1.50}')`;
    const database = await create({}, async (url) => {
      await prepare(url);
      await on(url, odd);
    });
    const look = (): Promise<unknown[]> =>
      on(
        database.url,
        `select (select jsonb_agg(o order by id) from "odd ""one" o) as odd,
           (select jsonb_agg(c order by code) from country c) as countries,
           (select count(*)::int from visit) as visits`,
      );
    const before = [await look(), await oidOf(database)];
    for (const sql of [
      "update country set capital_note = 1 where code = 'AT'",
      "delete from country where code = 'AT'",
      "insert into country values ('LI'); insert into visit (country) values ('LI')",
      "delete from country; insert into country values ('AT'), ('CH')",
      'truncate country cascade; truncate "odd ""one"',
      'delete from "odd ""one" where id = 2; update "odd ""one" set document = null',
      "create temp table passing (id int); select nextval('visit_id_seq')",
    ]) {
      await on(database.url, sql);
      await database.reset();
      expect([await look(), await oidOf(database)]).toEqual(before);
      expect(
        await on(database.url, 'insert into visit (country) values (null) returning id'),
      ).toEqual([{ id: 1 }]);
    }
    await database.drop();
  });

  it.each([
    ['made a table', 'create table other (id int)'],
    ['dropped a table', 'drop table visit'],
    ['added a column', 'alter table note add other text'],
    ['made a function', "create function other() returns int language sql as 'select 1'"],
  ])('makes it anew where a test has %s', async (_, sql) => {
    const database = await create();
    const columns = (): Promise<unknown[]> =>
      on(
        database.url,
        `select table_name, column_name, to_regproc('other') from information_schema.columns
         where table_schema = 'public' order by 1, 2`,
      );
    const before = await columns();
    const oid = await oidOf(database);
    await on(database.url, sql);
    await database.reset();
    expect(await columns()).toEqual(before);
    expect(await oidOf(database)).not.toEqual(oid);
    // And from then on as well, with the rows of the template in place.
    await on(database.url, "insert into note (text) values ('more'); delete from country");
    await database.reset();
    expect(await notes(database)).toEqual([]);
    expect(await on(database.url, 'select * from country')).toHaveLength(2);
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

  describe('for a role that is no superuser', () => {
    let roleUrl: string;
    beforeEach(async () => {
      await server.query(`create role "${name}" login createdb password 'plain'`);
      const url = new URL(SERVER_URL);
      url.username = name;
      url.password = 'plain';
      roleUrl = url.href;
    });
    afterEach(async () => {
      for (const each of await databases()) {
        await server.query(`drop database "${each}" with (force)`);
      }
      await server.query(`drop role "${name}"`);
    });

    it('puts rows back in the order of their foreign keys', async () => {
      const database = await create({ serverUrl: roleUrl }, async (url) => {
        await prepare(url);
        // A cascade would take the rows of a table along that nobody has changed.
        await on(
          url,
          `create table city (id serial primary key, name text,
             country text references country on delete cascade);
           insert into city (name, country) values ('Wien', 'AT'), ('Bern', 'CH')`,
        );
      });
      const oid = await oidOf(database);
      for (const sql of [
        "insert into visit (country) values ('AT')",
        "update country set capital_note = 1 where code = 'AT'; insert into visit (country) values ('CH')",
        "insert into country values ('LI'); insert into city (name, country) values ('Vaduz', 'LI')",
      ]) {
        await on(database.url, sql);
        await database.reset();
        expect(await on(database.url, 'select * from visit')).toEqual([]);
        expect(await on(database.url, 'select * from country order by code')).toEqual([
          { code: 'AT', capital_note: null },
          { code: 'CH', capital_note: null },
        ]);
        expect(await on(database.url, 'select * from city order by id')).toEqual([
          { id: 1, name: 'Wien', country: 'AT' },
          { id: 2, name: 'Bern', country: 'CH' },
        ]);
        expect(await oidOf(database)).toEqual(oid);
      }
      await database.drop();
    });

    it.each([
      [
        'policies hide rows from it',
        `alter table note enable row level security; alter table note force row level security;
         create policy writing on note for insert with check (true)`,
      ],
      [
        'tables refer to one another in a circle',
        'alter table note add other int; create table pair (id int primary key, note int references note);' +
          'alter table note add foreign key (other) references pair; insert into note (id, text) values (0, 0);' +
          'insert into pair values (1, 0); update note set other = 1',
      ],
      [
        'a trigger would run',
        "create function stop() returns trigger language plpgsql as 'begin return null; end';" +
          'create trigger stop before delete on note for each row execute function stop()',
      ],
    ])('makes it anew where %s', async (_, sql) => {
      const database = await create({ serverUrl: roleUrl }, async (url) => {
        await prepare(url);
        await on(url, sql);
      });
      const oid = await oidOf(database);
      await on(database.url, "insert into note (text) values ('hidden')");
      await database.reset();
      const own = new URL(SERVER_URL);
      own.pathname = database.name;
      expect(await on(own.href, "select * from note where text = 'hidden'")).toEqual([]);
      expect(await oidOf(database)).not.toEqual(oid);
      await database.drop();
    });
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

  it('two runs at the same time share no database', async () => {
    const runs = await Promise.all([
      runJest('writes-[12]', '--runInBand'),
      runJest('writes-[12]', '--runInBand'),
    ]);
    for (const { results, output } of runs) {
      expect({ ...results, output }).toMatchObject({ success: true, numPassedTests: 10 });
    }
    expect(await databases()).toEqual([expect.stringContaining('_template_')]);
  }, 100_000);

  it('a file that does not close its database leaves it to the next file of its process', async () => {
    const { results, reported, output } = await runJest('forgets-', '--runInBand');
    expect({ ...results, output }).toMatchObject({ success: true, numPassedTests: 2 });
    const used = reported.filter((each) => each.database !== undefined);
    expect(used).toHaveLength(2);
    expect(new Set(used.map((each) => each.database))).toEqual(new Set([`${name}_worker_1`]));
    expect(new Set(used.map((each) => each.pid)).size).toBe(1);
  }, 60_000);

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
