import type { RunSql } from './database-link.js';

/** The mark of a table without rows. */
export const EMPTY = '0/0';

const RELATIONS = `
  select format('%I.%I', n.nspname, c.relname) as name, c.relkind = 'm' as "isView"
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where (c.relkind = 'r' or (c.relkind = 'm' and c.relispopulated)) and c.relpersistence <> 't'
    and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
  order by 1`;

/**
 * The mark of the catalog, without temporary objects. The first oid that the server gives to what a user
 * makes is 16384. The rows of pg_class are left out, since TRUNCATE changes them, but for those of
 * materialized views, which REFRESH changes.
 */
const CATALOG = `
  with spaces as materialized (
    select oid from pg_namespace
    where nspname <> 'information_schema' and nspname not like 'pg\\_%'
  ), relations as materialized (
    select oid, relkind from pg_class
    where oid >= 16384 and relpersistence <> 't' and relnamespace in (select oid from spaces)
  ), marks as (
    select xmin from pg_attribute where attrelid >= 16384 and attnum > 0
      and attrelid in (select oid from relations where relkind not in ('i', 'S'))
    union all select null from relations where relkind = 'S'
    union all select xmin from pg_class
      where relkind = 'm' and oid in (select oid from relations)
    union all select xmin from pg_attrdef where adrelid in (select oid from relations)
    union all select xmin from pg_index where indrelid in (select oid from relations)
    union all select xmin from pg_policy where polrelid in (select oid from relations)
    union all select xmin from pg_rewrite where oid >= 16384 and ev_class in (select oid from relations)
    union all select xmin from pg_trigger where tgrelid in (select oid from relations)
    union all select xmin from pg_constraint
      where oid >= 16384 and connamespace in (select oid from spaces)
    union all select xmin from pg_type where oid >= 16384 and typnamespace in (select oid from spaces)
    union all select xmin from pg_proc where oid >= 16384
    union all select xmin from pg_enum
    union all select xmin from pg_extension
    union all select xmin from pg_namespace where oid in (select oid from spaces)
  )
  select count(*) || '/' || coalesce(max(xmin::text::bigint), 0) from marks`;

/**
 * The contents of a database, as marks that every committed change changes: for a table the number of its
 * rows and the youngest transaction that wrote one, for a sequence its last value, for the catalog (columns,
 * constraints, indexes, functions and so on) what there is for a table. A copy of a database has the same
 * marks. The names are quoted for SQL.
 */
export interface DatabaseContents {
  readonly tables: Readonly<Record<string, string>>;
  /** Those of materialized views that have rows; REFRESH ... CONCURRENTLY changes nothing else of them. */
  readonly views: Readonly<Record<string, string>>;
  readonly sequences: Readonly<Record<string, string | null>>;
  readonly catalog: string;
}

/** The contents of the database that `run` is connected to. */
export async function readContents(run: RunSql): Promise<DatabaseContents> {
  const relations = await run(RELATIONS);
  const [tables, views] = [false, true].map((isView) =>
    relations.filter((each) => each['isView'] === isView).map(({ name }) => name as string),
  ) as [string[], string[]];
  const [row] = await run(contentsSql({ tables, views }));
  return contentsOf({ tables, views }, row!);
}

/** The names of what rows are read of. */
interface Relations {
  readonly tables: readonly string[];
  readonly views: readonly string[];
}

/**
 * Reads the contents of the same tables again and again on one connection. The query is prepared, as the
 * planner takes several times as long for the many tables as reading them does.
 */
export class ContentsReader {
  readonly #relations: Relations;
  #isPrepared = false;

  constructor({ tables, views }: DatabaseContents) {
    this.#relations = { tables: Object.keys(tables), views: Object.keys(views) };
  }

  /** @throws the server's errors 42P01: one of the tables is gone; 55000: a view has no rows any more */
  async read(run: RunSql): Promise<DatabaseContents> {
    if (!this.#isPrepared) {
      await run(`prepare nestjs_db_context_contents as ${contentsSql(this.#relations)}`);
      this.#isPrepared = true;
    }
    const [row] = await run('execute nestjs_db_context_contents');
    return contentsOf(this.#relations, row!);
  }
}

/** The marks of some tables. */
export async function readMarks(
  run: RunSql,
  tables: readonly string[],
): Promise<DatabaseContents['tables']> {
  const [row] = await run(`select (${marksSql(tables)}) as marks`);
  return marksOf(tables, row!['marks']);
}

/** The number of rows that a mark of a table stands for. */
export function rowCountOf(mark: string): number {
  return Number(mark.split('/')[0]);
}

function contentsSql({ tables, views }: Relations): string {
  return `
    select (${marksSql(tables)}) as marks, (${marksSql(views)}) as views, (${CATALOG}) as catalog,
      (select coalesce(json_object_agg(format('%I.%I', schemaname, sequencename), last_value::text), '{}')
       from pg_sequences where schemaname not like 'pg\\_%') as sequences`;
}

function marksSql(tables: readonly string[]): string {
  const marks = tables.map(
    (table, index) => `
      select ${index} as index, count(*) || '/' || coalesce(max(xmin::text::bigint), 0) as mark
      from only ${table}`,
  );
  return marks.length === 0
    ? "select '[]'::json"
    : `select json_agg(mark order by index) from (${marks.join(' union all ')}) marks`;
}

function contentsOf({ tables, views }: Relations, row: Record<string, unknown>): DatabaseContents {
  return {
    tables: marksOf(tables, row['marks']),
    views: marksOf(views, row['views']),
    sequences: row['sequences'] as DatabaseContents['sequences'],
    catalog: row['catalog'] as string,
  };
}

function marksOf(names: readonly string[], marks: unknown): Readonly<Record<string, string>> {
  const all = marks as readonly string[];
  return Object.fromEntries(names.map((name, index) => [name, all[index]!]));
}
