import type { RunSql } from './database-link.js';

/** Catalogs that do not count: statistics of ANALYZE, and sequences, whose values are compared. */
const LEFT_OUT = ['pg_statistic', 'pg_statistic_ext_data', 'pg_sequence'];

/**
 * Columns of pg_class that TRUNCATE, VACUUM and ANALYZE change: where a relation is stored, how large it is,
 * and hints that VACUUM takes back late.
 */
const STORAGE = [
  'relfilenode',
  'relpages',
  'reltuples',
  'relallvisible',
  'relallfrozen',
  'relfrozenxid',
  'relminmxid',
  'relhasindex',
  'relhasrules',
  'relhastriggers',
  'relhassubclass',
];

/** The first oid that the server gives to what a user makes. */
const FIRST_OWN_OID = 16_384;

/**
 * All catalogs of the database that the role may read, with the column that names the object of a row: the
 * first one. pg_depend has it in the second.
 */
const CATALOGS = `
  select format('pg_catalog.%I', c.relname) as name, a.attname as key
  from pg_class c
  left join pg_attribute a on a.attrelid = c.oid and a.atttypid in ('oid'::regtype, 'regproc'::regtype)
    and a.attnum = case c.relname when 'pg_depend' then 2 else 1 end
  where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' and not c.relisshared
    and c.relname <> all($1) and has_table_privilege(c.oid, 'select')
  order by c.oid`;

const COLUMNS = `
  select string_agg(format('%I', attname), ', ' order by attnum) as columns
  from pg_attribute
  where attrelid = 'pg_class'::regclass and attnum > 0 and not attisdropped and attname <> all($1)`;

/** Temporary objects of all sessions, and what hangs on them, such as their columns and constraints. */
const TEMPORARY = `
  with spaces as materialized (
    select oid from pg_namespace where nspname ~ '^pg_(toast_)?temp_'
  ), roots as materialized (
    select oid from spaces
    union all select oid from pg_class where relpersistence = 't'
    union all select oid from pg_type where typnamespace in (select oid from spaces)
  ), temporary as materialized (
    select oid from roots
    union select objid from pg_depend where refobjid in (select oid from roots)
  )`;

/**
 * The query for one text that every committed change of the catalogs changes, of whatever kind: it adds up
 * the transactions that have written their rows. A row that is new, or another one, is always of a later
 * transaction, and one that is gone is not counted; thus no list of the kinds of objects is needed. (The
 * difference of two ages is that of two transactions. Rows of the bootstrap have none.)
 *
 * pg_class and pg_sequence are compared by their values, since TRUNCATE and RESTART write rows there without
 * a change that a reset would not put back. Rows of temporary objects do not count.
 */
export async function catalogSql(run: RunSql): Promise<string> {
  const catalogs = await run(CATALOGS, [LEFT_OUT]);
  const [row] = await run(COLUMNS, [STORAGE]);
  const sums = catalogs.map(({ name, key }) => sumSql(String(name), key as string | null));
  return `${TEMPORARY}, sums as (${sums.join(' union all ')}
    ), relations as (
      select row(${String(row!['columns'])})::text as line from pg_class
      where oid >= ${FIRST_OWN_OID} and oid not in (select oid from temporary)
      union all
      select s::text from pg_sequence s where seqrelid not in (select oid from temporary)
    )
    select (select sum(count) || '/' || sum(count) * age('3'::xid) - sum(ages) from sums) ||
      '/' || (select count(*) || '/' || coalesce(sum(hashtextextended(line, 0)), 0) from relations)`;
}

/** The number of the rows of a catalog, and the ages of the transactions that have written them. */
function sumSql(name: string, key: string | null): string {
  const conditions = ['age(xmin) < 2147483647'];
  if (key !== null) {
    conditions.push(`${key}::oid not in (select oid from temporary)`);
  }
  if (name === 'pg_catalog.pg_depend') {
    conditions.push('refobjid not in (select oid from temporary)');
  }
  if (name === 'pg_catalog.pg_class') {
    // REFRESH changes nothing else of a materialized view.
    conditions.push(`(oid < ${FIRST_OWN_OID} or relkind = 'm')`);
  }
  return `select count(*) as count, coalesce(sum(age(xmin)), 0) as ages from ${name}
    where ${conditions.join(' and ')}`;
}
