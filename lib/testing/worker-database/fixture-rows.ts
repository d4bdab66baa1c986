import { rowCountOf, type DatabaseContents } from './database-contents.js';
import type { RunSql } from './database-link.js';

/** Most rows of a table that are kept; making a new copy is the faster way for larger ones. */
const MOST_ROWS = 10_000;
/**
 * The table of the rows. It is temporary, so that nobody but its connection sees it: neither the
 * application nor one that compares the database with entities.
 */
const KEPT = 'pg_temp.nestjs_db_context_fixtures';

const COLUMNS = `
  select format('%I.%I', n.nspname, c.relname) as table,
    string_agg(format('%I', a.attname), ', ' order by a.attnum) as columns,
    string_agg(format('(kept.line).%I', a.attname), ', ' order by a.attnum) as values
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and a.attgenerated = ''
  where format('%I.%I', n.nspname, c.relname) = any($1) group by 1`;

/**
 * The rows that the template has, kept beside the tables for as long as the connection lasts that has
 * kept them, so that those that a test has changed can be put back.
 */
export class FixtureRows {
  readonly #insertions: ReadonlyMap<string, string>;

  private constructor(insertions: ReadonlyMap<string, string>) {
    this.#insertions = insertions;
  }

  /** Keeps nothing. */
  static none(): FixtureRows {
    return new FixtureRows(new Map());
  }

  /** Keeps the rows of all tables that are not too large, as they are now. */
  static async keep(run: RunSql, { tables }: DatabaseContents): Promise<FixtureRows> {
    const kept = Object.keys(tables).filter((table) => {
      const count = rowCountOf(tables[table]!);
      return count > 0 && count <= MOST_ROWS;
    });
    if (kept.length === 0) {
      return FixtureRows.none();
    }
    const copies = kept.map(
      (table, index) =>
        `insert into ${KEPT} select ${index}, (fixture.*)::text from only ${table} fixture`,
    );
    try {
      await run(
        `begin; set local row_security = off;
         create table ${KEPT} (index int not null, line text not null);
         ${copies.join(';')}; commit`,
      );
    } catch (error) {
      await run('rollback');
      // Policies of row-level security hide rows from the role, which therefore cannot keep them.
      if ((error as { readonly code?: unknown }).code === '42501') {
        return FixtureRows.none();
      }
      throw error;
    }
    const columns = await run(COLUMNS, [kept]);
    return new FixtureRows(
      new Map(
        columns.map((each) => {
          const table = each['table'] as string;
          // Not pulled up, so that each line is read once and not for each of its columns.
          return [
            table,
            `insert into ${table} (${String(each['columns'])}) overriding system value
             select ${String(each['values'])} from (
               select line::${table} as line from ${KEPT} where index = ${kept.indexOf(table)} offset 0
             ) kept`,
          ];
        }),
      ),
    );
  }

  /** @returns the statement that inserts the rows of a table, undefined where they are not kept */
  insertionInto(table: string): string | undefined {
    return this.#insertions.get(table);
  }
}
