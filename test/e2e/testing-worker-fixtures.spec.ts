import { createWorkerDatabase, type WorkerDatabase } from 'nestjs-db-context/testing';
import { Client, type QueryResultRow } from 'pg';

const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;
const name = `wf_${process.pid}`;

/** What a schema may have that makes putting rows back hard. */
const SCHEMA = `
  set intervalstyle = 'iso_8601';
  create schema shop;
  create type shop.mood as enum ('good', 'bad');
  create table shop.person (
    id int generated always as identity primary key, mood shop.mood not null, best_friend int,
    name text not null, twice text generated always as (name || name) stored, tags text[] not null,
    at timestamptz not null, lasts interval not null, bytes bytea not null, price money not null,
    gone int);
  alter table shop.person drop column gone;
  create table shop."Odd ""pet" (id int primary key, owner int not null references shop.person);
  alter table shop.person add pet int references shop."Odd ""pet" deferrable initially deferred;
  alter table shop.person add foreign key (best_friend) references shop.person;
  create table shop.visit (day date not null, person int references shop.person, primary key (day))
    partition by range (day);
  create table shop.visit_2026 partition of shop.visit for values from ('2026-01-01') to ('2027-01-01');
  create table shop.visit_rest partition of shop.visit default;
  create table shop.secret (id int primary key, owner text not null);
  alter table shop.secret enable row level security;
  alter table shop.secret force row level security;
  create policy own on shop.secret using (owner = 'nobody');
  create table shop.log (text text);
  create function shop.log() returns trigger language plpgsql as
    $$ begin insert into shop.log values (tg_op); return null; end $$;
  create constraint trigger person_log after insert or update or delete on shop.person
    deferrable initially deferred for each row execute function shop.log();
  insert into shop.person (mood, name, best_friend, tags, at, lasts, bytes, price) values
    ('good', E'A"d,a\\n\\\\', 1, '{"a b",c}', '2026-03-04 05:06:07.123456+02', '1 mon -2 days', '\\x00ff', 1.5),
    ('bad', 'Grace', 1, '{}', '1969-12-31 23:00:00-11', '-3 hours', '', -2);
  insert into shop."Odd ""pet" values (1, 1), (2, 1);
  update shop.person set pet = 2;
  insert into shop.visit values ('2026-05-06', 1), ('1999-05-06', 2);
  insert into shop.secret values (1, 'ada'), (2, 'nobody');
  create table shop.ledger (id int);
  create table shop.silent (id int);
  create function shop.refuse() returns trigger language plpgsql as
    $$ begin raise exception 'append-only'; end $$;
  create function shop.skip() returns trigger language plpgsql as 'begin return null; end';
  create trigger refuse before delete on shop.ledger for each row execute function shop.refuse();
  alter table shop.ledger enable always trigger refuse;
  create trigger skip before delete on shop.silent for each row execute function shop.skip();
  alter table shop.silent enable replica trigger skip;
  create materialized view shop.moods as select mood, count(*) as count from shop.person group by 1;
  create unique index on shop.moods (mood);
  create materialized view shop.empty as select 1 as one with no data`;

const ALL = `
  select (select json_agg(p order by id) from shop.person p)::text as person,
    (select json_agg(p order by id) from shop."Odd ""pet" p)::text as pet,
    (select json_agg(v order by day) from shop.visit v)::text as visit,
    (select json_agg(s order by id) from shop.secret s)::text as secret,
    (select json_agg(m order by mood) from shop.moods m)::text as moods,
    (select count(*) from shop.log) as log`;

const CHANGES: readonly string[] = [
  `update shop.person set name = 'x', best_friend = 2, lasts = '1 day' where id = 1`,
  `delete from shop.visit; insert into shop.visit values ('2026-01-01', 2)`,
  `update shop.person set pet = null; delete from shop."Odd ""pet"; insert into shop."Odd ""pet" values (9, 2)`,
  `delete from shop.secret; insert into shop.person (mood, name, tags, at, lasts, bytes, price)
     values ('bad', 'New', '{}', now(), '1 s', '', 0)`,
];

let server: Client;
let database: WorkerDatabase;
let untouched: QueryResultRow;
let oid: unknown;

const create = (): Promise<WorkerDatabase> =>
  createWorkerDatabase({
    serverUrl: SERVER_URL,
    template: { name, prepare: (url) => on(url, SCHEMA) },
    workerId: 'a',
    reuse: true,
  });

async function on(url: string, sql: string): Promise<QueryResultRow> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const answers = [await client.query(sql)].flat();
    return answers.at(-1)!.rows[0] as QueryResultRow;
  } finally {
    await client.end();
  }
}

/** It differs between a database and the next one of its name. */
async function oidNow(): Promise<unknown> {
  const sql = `select oid from pg_database where datname = '${database.name}'`;
  return (await on(SERVER_URL, sql))['oid'];
}

async function expectUntouched(): Promise<void> {
  expect(await on(database.url, ALL)).toEqual(untouched);
}

beforeAll(async () => {
  server = new Client({ connectionString: SERVER_URL });
  await server.connect();
  database = await create();
  untouched = await on(database.url, ALL);
});
beforeEach(async () => {
  oid = await oidNow();
});
afterAll(async () => {
  await database.drop();
  const { rows } = await server.query<{ datname: string }>(
    'select datname from pg_database where starts_with(datname, $1)',
    [`${name}_`],
  );
  for (const { datname } of rows) {
    await server.query(`drop database "${datname}" with (force)`);
  }
  await server.end();
});

it.each(CHANGES)(
  'T1: rows of the template come back in the same database after: %s',
  async (sql) => {
    await on(database.url, sql);
    await database.reset();
    await expectUntouched();
    expect(await oidNow()).toBe(oid);
  },
);

it('T1: they come back although the connection of the kit was lost', async () => {
  await on(database.url, CHANGES[0]!);
  await server.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = $1 and application_name not like 'psql%'`,
    [database.name],
  );
  await database.reset();
  await expectUntouched();
  expect(await oidNow()).toBe(oid);
});

it('T1: a later worker puts them back in a database that was kept', async () => {
  await on(database.url, CHANGES[0]!);
  await database.close();
  database = await create();
  await expectUntouched();
  expect(await oidNow()).toBe(oid);
  await database.reset();
  expect(await oidNow()).toBe(oid);
});

it('T1: a materialized view that a test has refreshed is as before', async () => {
  for (const refresh of ['refresh materialized view', 'refresh materialized view concurrently']) {
    await on(database.url, CHANGES[3]!);
    await on(database.url, `${refresh} shop.moods`);
    await database.reset();
    await expectUntouched();
  }
  await on(database.url, 'refresh materialized view shop.moods with no data');
  await database.reset();
  await on(database.url, 'refresh materialized view shop.empty');
  await database.reset();
  await expectUntouched();
  await expect(on(database.url, 'select * from shop.empty')).rejects.toMatchObject({
    code: '55000',
  });
});

it('T1: rows that a test has taken away from those that are kept come with a new copy', async () => {
  await on(
    database.url,
    'select lo_unlink(oid) from pg_largeobject_metadata; update shop.secret set owner = 1',
  );
  await database.reset();
  await expectUntouched();
  expect(await oidNow()).not.toBe(oid);
});

it.each(['ledger', 'silent'])(
  'T1: a trigger that runs in a reset as well, and keeps rows in shop.%s, leads to a new copy',
  async (table) => {
    await on(database.url, `insert into shop.${table} values (1)`);
    await database.reset();
    const sql = `select count(*)::int as count from shop.${table}`;
    expect(await on(database.url, sql)).toEqual({ count: 0 });
    expect(await oidNow()).not.toBe(oid);
  },
);

it('what is kept stands in no schema, where it would differ from the entities', async () => {
  const sql = `select count(*)::int as count from pg_class c join pg_namespace n on n.oid = relnamespace
    where relkind in ('r', 'p', 'm') and nspname not in ('pg_catalog', 'information_schema', 'shop', 'pg_toast')`;
  expect(await on(database.url, sql)).toEqual({ count: 0 });
});
