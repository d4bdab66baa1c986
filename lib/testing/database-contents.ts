import type { RunSql } from './database-link.js';
import { quoteIdentifier } from './database-names.js';

/** How long a reset waits for transactions of the application to end, in milliseconds. */
const LOCK_TIMEOUT_MS = 5_000;

const TABLES = `
  select n.nspname as schema, c.relname as name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and c.relpersistence <> 't'
    and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
  order by 1, 2`;

const SEQUENCES = `
  select format('%I.%I', schemaname, sequencename) as name, last_value::text as last
  from pg_sequences order by 1`;

/** The mark of a table without rows. */
const EMPTY = '0/0';

/**
 * The contents of a database, as marks that every committed change of rows changes: for a table the
 * number of its rows and the youngest transaction that wrote one, for a sequence its last value. A copy of
 * a database has the same marks.
 */
export interface DatabaseContents {
  readonly tables: Readonly<Record<string, string>>;
  readonly sequences: Readonly<Record<string, string | null>>;
}

export async function readContents(run: RunSql): Promise<DatabaseContents> {
  const tables = await readTables(run);
  return { tables: await readMarks(run, tables), sequences: await readSequences(run) };
}

/**
 * Deletes the rows of tables that were empty before, and puts sequences back.
 *
 * @returns whether the contents are restored. If not, nothing has changed, and only a new copy of the
 *   template helps: a test has changed rows of the template, or made or dropped a table, or the role may
 *   not do this
 * @throws the server's error 55P03: a transaction stayed open and kept its locks
 */
export async function restoreContents(run: RunSql, before: DatabaseContents): Promise<boolean> {
  const tables = await readTables(run);
  const sequences = await readSequences(run);
  const isSameShape =
    isSameList(tables, Object.keys(before.tables)) &&
    isSameList(Object.keys(sequences), Object.keys(before.sequences));
  if (!isSameShape) {
    return false;
  }
  await run('begin');
  const isRestored = await mayFail('42501', async () => {
    const areRowsRestored = await restoreRows(run, tables, before.tables);
    if (areRowsRestored) {
      await restoreSequences(run, before.sequences);
    }
    return areRowsRestored;
  });
  await run(isRestored ? 'commit' : 'rollback');
  return isRestored;
}

async function restoreRows(
  run: RunSql,
  tables: readonly string[],
  before: DatabaseContents['tables'],
): Promise<boolean> {
  if (tables.length === 0) {
    return true;
  }
  // Policies of row-level security would hide rows when the marks are read. With this setting the server
  // refuses to read such a table instead.
  await run(`set local lock_timeout = ${LOCK_TIMEOUT_MS}; set local row_security = off`);
  // Rows that are being written now would come after the marks are read, and stay.
  await run(`lock table ${tables.map((table) => `only ${table}`).join(', ')} in exclusive mode`);
  const marks = await readMarks(run, tables);
  const changed = tables.filter((table) => marks[table] !== before[table]);
  if (changed.some((table) => before[table] !== EMPTY)) {
    return false;
  }
  // TRUNCATE takes 2 ms for each table; DELETE of the few rows of a test takes hardly any time. As
  // `replica` the session runs no triggers and checks no foreign keys, which only superusers and roles
  // with that privilege may set.
  if (changed.length > 0) {
    await run('set local session_replication_role = replica');
  }
  for (const table of changed) {
    await run(`delete from only ${table}`);
  }
  return true;
}

/** @returns what `attempt` returns, or false if it failed with that SQLSTATE */
async function mayFail(sqlState: string, attempt: () => Promise<boolean>): Promise<boolean> {
  try {
    return await attempt();
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === sqlState) {
      return false;
    }
    throw error;
  }
}

async function restoreSequences(run: RunSql, before: DatabaseContents['sequences']): Promise<void> {
  // They are read again because numbers were still drawn until the tables were locked.
  for (const [name, last] of Object.entries(await readSequences(run))) {
    if (last !== before[name]) {
      await run(
        `select setval(s.seqrelid, coalesce($2::bigint, s.seqstart), $2::bigint is not null)
         from pg_sequence s where s.seqrelid = $1::regclass`,
        [name, before[name]],
      );
    }
  }
}

async function readTables(run: RunSql): Promise<string[]> {
  return (await run(TABLES)).map(
    ({ schema, name }) => `${quoteIdentifier(schema as string)}.${quoteIdentifier(name as string)}`,
  );
}

async function readMarks(run: RunSql, tables: readonly string[]): Promise<Record<string, string>> {
  if (tables.length === 0) {
    return {};
  }
  const marks = tables.map(
    (table, index) => `
      select ${index} as index, count(*) || '/' || coalesce(max(xmin::text::bigint), 0) as mark
      from only ${table}`,
  );
  const rows = await run(marks.join(' union all '));
  return Object.fromEntries(
    rows.map(({ index, mark }) => [tables[index as number]!, String(mark)]),
  );
}

async function readSequences(run: RunSql): Promise<Record<string, string | null>> {
  const rows = await run(SEQUENCES);
  return Object.fromEntries(rows.map(({ name, last }) => [name, last])) as Record<
    string,
    string | null
  >;
}

function isSameList(some: readonly string[], others: readonly string[]): boolean {
  return some.toSorted().join('\0') === others.toSorted().join('\0');
}
