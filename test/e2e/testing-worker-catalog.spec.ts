import { createWorkerDatabase, type WorkerDatabase } from 'nestjs-db-context/testing';
import { Client } from 'pg';

import {
  ContentsReader,
  readContents,
} from '../../lib/testing/worker-database/database-contents.js';
import type { RunSql } from '../../lib/testing/worker-database/database-link.js';

const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;
const name = `wc_${process.pid}`;

const SCHEMA = `
  create schema shop;
  create table shop.item (id serial primary key, name text not null, price int);
  create table shop.sale (id int generated always as identity primary key, item int references shop.item);
  alter table shop.item enable row level security;
  alter table shop.item force row level security;
  create policy own on shop.item using (true);
  insert into shop.item (name) values ('lamp'), ('rug');
  create sequence shop.number start 10;
  create sequence shop.ticket;
  select setval('shop.ticket', 100, false);
  create function shop.one() returns int language sql as 'select 1';
  create function shop.log() returns trigger language plpgsql as 'begin return new; end';
  create trigger log after insert on shop.sale for each row execute function shop.log();
  create view shop.names as select name from shop.item;
  create rule quiet as on insert to shop.names do instead nothing;
  create materialized view shop.total as select count(*) from shop.item;
  create type shop.mood as enum ('good');
  create domain shop.amount as int;
  create publication all_items for table shop.item;
  create statistics shop.both on id, price from shop.item;
  create foreign data wrapper far;
  create server elsewhere foreign data wrapper far;
  select lo_from_bytea(4242, 'of the template')`;

/** One change of each kind, of rights as well. */
const CHANGES: readonly string[] = [
  'alter table shop.item disable row level security',
  'alter table shop.item no force row level security',
  'grant all on shop.item to public',
  'grant select (name) on shop.item to pg_monitor',
  'revoke usage on schema public from public',
  'grant usage on sequence shop.number to public',
  'revoke execute on function shop.one() from public',
  'revoke execute on function pg_sleep(double precision) from public',
  'alter default privileges in schema shop grant select on tables to public',
  'alter sequence shop.number increment 5',
  'alter sequence shop.number maxvalue 1000 cycle',
  'alter sequence shop.number owned by shop.item.price',
  "comment on table shop.item is 'for sale'",
  "comment on schema public is 'not used'",
  'alter table shop.item replica identity full',
  'alter table shop.item set (fillfactor = 70)',
  'alter index shop.item_pkey set (fillfactor = 70)',
  'alter table shop.item alter name set storage external',
  'alter table shop.item alter name set compression pglz',
  'alter table shop.item alter name set statistics 7',
  "alter table shop.item alter name set default 'none'",
  'alter table shop.sale disable trigger log',
  'alter table shop.sale cluster on sale_pkey',
  'alter table shop.sale set unlogged',
  'alter table shop.sale set logged',
  'alter policy own on shop.item using (false)',
  'create policy more on shop.sale using (true)',
  'create rule loud as on insert to shop.sale do also notify sale',
  'create publication more for table shop.sale',
  'alter publication all_items add table shop.sale',
  'create statistics shop.more on id, item from shop.sale',
  'alter statistics shop.both set statistics 5',
  'create collation shop.plain from "C"',
  'create cast (shop.mood as shop.amount) with inout',
  'create operator shop.=== (function = int4eq, leftarg = int, rightarg = int)',
  'create text search configuration shop.search (copy = simple)',
  'alter text search configuration shop.search drop mapping for word',
  'create aggregate shop.add (int) (sfunc = int4pl, stype = int)',
  "alter type shop.mood add value 'bad'",
  'alter domain shop.amount set not null',
  'create user mapping for current_user server elsewhere',
  "alter user mapping for current_user server elsewhere options (user 'x')",
  "alter server elsewhere options (host 'x')",
  "create function shop.on_ddl() returns event_trigger language plpgsql as 'begin end'",
  'create event trigger on_ddl on ddl_command_start execute function shop.on_ddl()',
  'alter event trigger on_ddl disable',
  "select lo_from_bytea(0, 'of a test')",
  "select lo_put(4242, 0, 'changed')",
  'grant select on large object 4242 to public',
  'select lo_unlink(4242)',
  'alter function shop.one() cost 7',
  'alter function shop.one() depends on extension plpgsql',
  'alter extension plpgsql add type shop.mood',
  'comment on extension plpgsql is null',
  'alter table shop.sale rename item to thing',
  'create table shop.more () inherits (shop.item)',
  'alter table shop.more no inherit shop.item',
  'refresh materialized view shop.total',
  'drop view shop.names',
  'drop schema public cascade',
];

/** Changes of the database itself, which no catalog of it holds, and how they are undone. */
const OF_DATABASE: readonly (readonly [string, string])[] = [
  ['alter database "%" set work_mem = \'1MB\'', 'alter database "%" reset work_mem'],
  [
    'alter role current_user in database "%" set work_mem = \'2MB\'',
    'alter role current_user in database "%" reset all',
  ],
  ['alter database "%" connection limit 50', 'alter database "%" connection limit -1'],
  ['revoke connect on database "%" from public', 'select'],
];

/** What puts back by itself, or changes nothing. */
const NO_CHANGES: readonly string[] = [
  "insert into shop.sale (item) values (1); update shop.item set name = 'x'; delete from shop.sale",
  'truncate shop.item cascade',
  'truncate shop.sale, shop.item restart identity',
  'analyze',
  'vacuum',
  'vacuum (freeze, analyze)',
  "create temp table passing (id serial primary key, name text unique check (name > '')); analyze passing",
  "select nextval('shop.number'), setval('shop.ticket', 500, false)",
  'alter sequence shop.ticket restart with 7',
  'begin; create table shop.never (id int); rollback',
];

let database: WorkerDatabase;
let client: Client;

const create = (): Promise<WorkerDatabase> =>
  createWorkerDatabase({
    serverUrl: SERVER_URL,
    workerId: 'a',
    template: { name, prepare: (url) => on(url, SCHEMA) },
  });

async function on(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const connected = new Client({ connectionString: url });
  await connected.connect();
  try {
    const answers = [await connected.query<Record<string, unknown>>(sql)].flat();
    return answers.at(-1)!.rows;
  } finally {
    await connected.end();
  }
}

const run: RunSql = async (sql, values) =>
  (await client.query<Record<string, unknown>>(sql, values && [...values])).rows;

/** It differs between a database and the next one of its name. */
const oidNow = (): Promise<unknown> =>
  on(SERVER_URL, `select oid from pg_database where datname = '${database.name}'`);

beforeAll(async () => {
  database = await create();
});
beforeEach(async () => {
  client = new Client({ connectionString: database.url });
  client.on('error', () => undefined);
  await client.connect();
});
afterEach(() => client.end());
afterAll(async () => {
  await database.drop();
  const left = await on(
    SERVER_URL,
    `select datname from pg_database where starts_with(datname, '${name}_')`,
  );
  for (const { datname } of left) {
    await on(SERVER_URL, `drop database "${String(datname)}" with (force)`);
  }
});

it.each(NO_CHANGES)('T1: the same database goes on after: %s', async (sql) => {
  const look = `select (select json_agg(i order by id) from shop.item i) as items,
    (select count(*) from shop.sale) as sales, (select last_value from shop.number) as number,
    (select last_value || ' ' || is_called from shop.ticket) as ticket,
    (select last_value || ' ' || is_called from shop.item_id_seq) as item`;
  const before = [await on(database.url, look), await oidNow()];
  // VACUUM runs in no text with others. The client stays connected, so that its temporary table does.
  for (const each of sql.startsWith('vacuum') ? [sql] : [sql, 'select']) {
    await client.query(each);
  }
  await database.reset();
  expect([await on(database.url, look), await oidNow()]).toEqual(before);
});

it.each([
  'alter table shop.item disable row level security',
  'grant all on shop.item to public',
  `alter database "${name}_worker_a" set work_mem = '1MB'`,
])('T1: a new database is as the template was before: %s', async (sql) => {
  const look = `select relrowsecurity, relacl, current_setting('work_mem') as work_mem
    from pg_class where oid = 'shop.item'::regclass`;
  const [before, oid] = [await on(database.url, look), await oidNow()];
  await client.query(sql);
  expect(await on(database.url, look)).not.toEqual(before);
  await database.reset();
  expect(await on(database.url, look)).toEqual(before);
  expect(await oidNow()).not.toEqual(oid);
  // Once: the new one is not taken for another change.
  const again = await oidNow();
  await database.reset();
  expect(await oidNow()).toEqual(again);
});

it('T1: a change of any kind is noticed in the catalogs', async () => {
  const unseen: string[] = [];
  let before = await readContents(run);
  for (const sql of CHANGES) {
    await client.query(sql);
    const now = await readContents(run);
    if (now.catalog === before.catalog) unseen.push(sql);
    before = now;
  }
  expect(unseen).toEqual([]);
});

it('T1: and so are changes of the database itself', async () => {
  const reader = new ContentsReader(await readContents(run));
  const seen: boolean[] = [];
  for (const [sql, undo] of OF_DATABASE) {
    await client.query(sql.replace('%', database.name));
    seen.push((await reader.read(run)).isAltered);
    await client.query(undo.replace('%', database.name));
    seen.push((await reader.read(run)).isAltered);
  }
  expect(seen).toEqual([true, false, true, false, true, false, true, true]);
});
