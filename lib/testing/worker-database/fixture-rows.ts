import { rowCountOf, type DatabaseContents } from './database-contents.js';
import type { RunSql } from './database-link.js';

/** Most rows of a table that are kept, and the most bytes of it; making a new copy is faster for larger ones. */
const MOST_ROWS = 10_000;
const MOST_BYTES = 16 * 1024 * 1024;

/** Names of tables and types in the text of a row are then read alike, whatever the search path is. */
const KEEP = 'set local row_security = off; set local search_path = pg_catalog';

const SMALL = `
  select name from unnest($1::text[]) name where pg_table_size(name::regclass) <= ${MOST_BYTES}`;

const COLUMNS = `
  select name, string_agg(format('%I', a.attname), ', ' order by a.attnum) as columns,
    string_agg(format('(kept.line).%I', a.attname), ', ' order by a.attnum) as values
  from unnest($1::text[]) name
  join pg_attribute a on a.attrelid = name::regclass and a.attnum > 0 and not a.attisdropped
    and a.attgenerated = ''
  group by name`;

/**
 * The rows that the tables of a template have, by the name of the table: the oid of the large object that
 * holds them. Each copy of the template has those large objects as well, whether or not anybody has used it.
 * They stand in no schema, so that one that compares the database with its entities finds nothing to drop.
 */
export type FixtureRows = Readonly<Record<string, number>>;

/** Keeps the rows of all tables of a template that are not too large. It changes none of their marks. */
export async function keepFixtures(
  run: RunSql,
  { tables }: DatabaseContents,
): Promise<FixtureRows> {
  const few = Object.keys(tables).filter((table) => {
    const count = rowCountOf(tables[table]!);
    return count > 0 && count <= MOST_ROWS;
  });
  const names = (await run(SMALL, [few])).map(({ name }) => name as string);
  if (names.length === 0) {
    return {};
  }
  try {
    await run(`begin; ${KEEP}`);
    const kept = await run(names.map((table, index) => keepSql(table, index)).join(' union all '));
    await run('commit');
    return Object.fromEntries(kept.map(({ index, oid }) => [names[Number(index)]!, Number(oid)]));
  } catch (error) {
    await run('rollback');
    // Policies of row-level security hide rows from the role, which therefore cannot keep them.
    if ((error as { readonly code?: unknown }).code === '42501') {
      return {};
    }
    throw error;
  }
}

/**
 * The statements that insert the rows of some tables, in their order.
 *
 * @returns undefined where those of one of them are not kept
 */
export async function insertionsInto(
  run: RunSql,
  fixtures: FixtureRows,
  tables: readonly string[],
): Promise<readonly string[] | undefined> {
  if (tables.length === 0) {
    return [];
  }
  if (tables.some((table) => fixtures[table] === undefined)) {
    return undefined;
  }
  const rows = await run(COLUMNS, [tables]);
  const columnsOf = new Map(rows.map((row) => [row['name'], row]));
  // Not pulled up, so that each line is read once and not for each of its columns.
  return tables.map((table) => {
    const { columns, values } = columnsOf.get(table) ?? {};
    return `insert into ${table} (${String(columns)}) overriding system value
      select ${String(values)} from (
        select value::${table} as line
        from json_array_elements_text(
          convert_from(lo_get(${fixtures[table]}), getdatabaseencoding())::json) value offset 0
      ) kept`;
  });
}

function keepSql(table: string, index: number): string {
  return `
    select ${index} as index, lo_from_bytea(
      0, convert_to(json_agg((fixture.*)::text)::text, getdatabaseencoding()))::text as oid
    from only ${table} fixture`;
}
