import { catalogSql } from './catalog-mark.js';
import type { RunSql } from './database-link.js';

/** The mark of a table without rows. */
export const EMPTY = '0/0';

const RELATIONS = `
  select format('%I.%I', n.nspname, c.relname) as name, c.relkind as kind
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where (c.relkind = 'r' or (c.relkind = 'm' and c.relispopulated) or
      (c.relkind = 'S' and has_sequence_privilege(c.oid, 'select'))) and c.relpersistence <> 't'
    and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
  order by 1`;

/**
 * Whether the database itself has settings, rights, a limit, an owner or subscriptions that one which was
 * just copied does not have: PostgreSQL copies none of them.
 */
const IS_ALTERED = `
  select datacl is not null or datconnlimit <> -1 or pg_get_userbyid(datdba) <> current_user
    or exists (select from pg_db_role_setting where setdatabase = d.oid)
    or exists (select from pg_subscription where subdbid = d.oid)
  from pg_database d where datname = current_database()`;

/**
 * The contents of a database, as marks that every committed change changes: for a table the number of its
 * rows and the youngest transaction that wrote one, for a sequence its last value and whether it was given
 * out, for the catalogs see {@link catalogSql}. A copy of a database has the same marks. The names are quoted
 * for SQL.
 */
export interface DatabaseContents {
  readonly tables: Readonly<Record<string, string>>;
  /** Those of materialized views that have rows; REFRESH ... CONCURRENTLY changes nothing else of them. */
  readonly views: Readonly<Record<string, string>>;
  readonly sequences: Readonly<Record<string, string>>;
  readonly catalog: string;
}

/** What is read of a copy. */
export interface CopyContents extends DatabaseContents {
  /** Whether the database has settings or rights of its own, which no copy begins with. */
  readonly isAltered: boolean;
}

/** The contents of the database that `run` is connected to. */
export async function readContents(run: RunSql): Promise<DatabaseContents> {
  const rows = await run(RELATIONS);
  const namesOf = (kind: string): string[] =>
    rows.filter((each) => each['kind'] === kind).map(({ name }) => name as string);
  const relations = { tables: namesOf('r'), views: namesOf('m'), sequences: namesOf('S') };
  const [row] = await run(contentsSql(relations, await catalogSql(run)));
  return contentsOf(relations, row!);
}

/** The names of what rows are read of. */
interface Relations {
  readonly tables: readonly string[];
  readonly views: readonly string[];
  readonly sequences: readonly string[];
}

/**
 * Reads the contents of the same relations again and again on one connection. The query is prepared, as the
 * planner takes several times as long for the many relations as reading them does.
 */
export class ContentsReader {
  readonly #relations: Relations;
  #isPrepared = false;

  constructor({ tables, views, sequences }: DatabaseContents) {
    this.#relations = {
      tables: Object.keys(tables),
      views: Object.keys(views),
      sequences: Object.keys(sequences),
    };
  }

  /**
   * @throws the server's errors 42P01: one of the relations is gone; 42501: the role may not read it any
   *   more; 55000: a view has no rows any more
   */
  async read(run: RunSql): Promise<CopyContents> {
    if (!this.#isPrepared) {
      const sql = contentsSql(this.#relations, await catalogSql(run));
      await run(`prepare nestjs_db_context_contents as ${sql}`);
      this.#isPrepared = true;
    }
    const [row] = await run('execute nestjs_db_context_contents');
    return { ...contentsOf(this.#relations, row!), isAltered: row!['isAltered'] as boolean };
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

function contentsSql({ tables, views, sequences }: Relations, catalog: string): string {
  return `
    select (${marksSql(tables)}) as marks, (${marksSql(views)}) as views, (${catalog}) as catalog,
      (${valuesSql(sequences)}) as sequences, (${IS_ALTERED}) as "isAltered"`;
}

function marksSql(tables: readonly string[]): string {
  const marks = tables.map(
    (table, index) => `
      select ${index} as index, count(*) || '/' || coalesce(max(xmin::text::bigint), 0) as mark
      from only ${table}`,
  );
  return listSql(marks);
}

function valuesSql(sequences: readonly string[]): string {
  return listSql(
    sequences.map(
      (name, index) => `
      select ${index} as index, last_value || '/' || is_called as mark from ${name}`,
    ),
  );
}

function listSql(marks: readonly string[]): string {
  return marks.length === 0
    ? "select '[]'::json"
    : `select json_agg(mark order by index) from (${marks.join(' union all ')}) marks`;
}

function contentsOf(
  { tables, views, sequences }: Relations,
  row: Record<string, unknown>,
): DatabaseContents {
  return {
    tables: marksOf(tables, row['marks']),
    views: marksOf(views, row['views']),
    sequences: marksOf(sequences, row['sequences']),
    catalog: row['catalog'] as string,
  };
}

function marksOf(names: readonly string[], marks: unknown): Readonly<Record<string, string>> {
  const all = marks as readonly string[];
  return Object.fromEntries(names.map((name, index) => [name, all[index]!]));
}
