import {
  EMPTY,
  readMarks,
  type ContentsReader,
  type DatabaseContents,
} from './database-contents.js';
import type { RunSql } from './database-link.js';
import { insertionsInto, type FixtureRows } from './fixture-rows.js';
import { firesAsReplica, inReferenceOrder } from './reference-order.js';

/** How long a reset waits for transactions of the application to end, in milliseconds. */
const LOCK_TIMEOUT_MS = 5_000;

/**
 * How rows are put back. As a replica the session runs no triggers and checks no foreign keys, which only
 * superusers and roles with that privilege may ask for. Others delete and insert in the order of the
 * foreign keys.
 */
export type RestoreWay = 'as-replica' | 'in-order';

/**
 * Beginnings of the SQLSTATEs of what a new copy of the template does not help against: a transaction stays
 * open (55P03), the statement was cancelled, the connection or the server ends. It helps against all others:
 * a table is gone, the role may not do it, a foreign key has no order, a view has no rows any more.
 */
const NOT_OF_CONTENTS = ['55P03', '08', '53', '57', '58', 'XX'];
/** Errors of the network have codes of letters alone, such as EPIPE. */
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/;
const INSUFFICIENT_PRIVILEGE = '42501';

export interface RestoreOptions {
  readonly before: DatabaseContents;
  readonly reader: ContentsReader;
  readonly fixtures: FixtureRows;
  readonly way: RestoreWay;
  /** Runs in the transaction where rows of the template were put back, which gives them other marks. */
  readonly onNewMarks: (contents: DatabaseContents) => Promise<void>;
}

/** What a reset leaves. */
export interface Restored {
  readonly contents: DatabaseContents;
  readonly way: RestoreWay;
}

/**
 * Puts rows and sequences back as they were before.
 *
 * @returns undefined if only a new copy of the template helps; then nothing has changed. A test has made,
 *   changed or dropped a table or another object, or rows of the template are not kept, or the role may
 *   not do this
 * @throws the server's error 55P03: a transaction stayed open and kept its locks
 */
export async function restoreContents(
  run: RunSql,
  options: RestoreOptions,
): Promise<Restored | undefined> {
  try {
    await run(
      // Policies of row-level security would hide rows. With this setting the server refuses to read such
      // a table instead.
      `begin; set local lock_timeout = ${LOCK_TIMEOUT_MS}; set local row_security = off;
       ${lockSql(Object.keys(options.before.tables))}`,
    );
    const contents = await restore(run, options);
    await run(contents === undefined ? 'rollback' : 'commit');
    return contents && { contents, way: options.way };
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    if (!isOfContents(String(code))) {
      throw error;
    }
    await run('rollback');
    return code === INSUFFICIENT_PRIVILEGE && options.way === 'as-replica'
      ? restoreContents(run, { ...options, way: 'in-order' })
      : undefined;
  }
}

function isOfContents(code: string): boolean {
  return SQLSTATE.test(code) && !NOT_OF_CONTENTS.some((each) => code.startsWith(each));
}

async function restore(
  run: RunSql,
  options: RestoreOptions,
): Promise<DatabaseContents | undefined> {
  const { before, reader } = options;
  const now = await reader.read(run);
  // What a materialized view held before is known to its template alone.
  const isAltered = now.isAltered || now.catalog !== before.catalog;
  if (isAltered || changedIn('views', now, before).length > 0) {
    return undefined;
  }
  const changed = changedIn('tables', now, before);
  const touched = await tablesToRestore(run, changed, options);
  const rows = touched && (await rowsSql(run, touched, options));
  if (rows === undefined) {
    return undefined;
  }
  const statements = [...rows, ...sequencesSql(now.sequences, before.sequences)];
  if (statements.length > 0) {
    await run(statements.join(';\n'));
  }
  const inserted = touched!.filter((table) => hadRows(table, before));
  if (inserted.length === 0) {
    return before;
  }
  const contents = {
    ...before,
    tables: { ...before.tables, ...(await readMarks(run, inserted)) },
  };
  await options.onNewMarks(contents);
  return contents;
}

/** Rows that are being written now would come after the marks are read, and stay. */
function lockSql(tables: readonly string[]): string {
  return tables.length === 0
    ? ''
    : `lock table ${tables.map((table) => `only ${table}`).join(', ')} in exclusive mode`;
}

function changedIn(
  kind: 'tables' | 'views',
  now: DatabaseContents,
  before: DatabaseContents,
): readonly string[] {
  return Object.keys(before[kind]).filter((name) => now[kind][name] !== before[kind][name]);
}

function hadRows(table: string, before: DatabaseContents): boolean {
  return before.tables[table] !== EMPTY;
}

/** @returns undefined if they cannot be restored; parents before the tables that refer to them */
async function tablesToRestore(
  run: RunSql,
  changed: readonly string[],
  { before, way }: RestoreOptions,
): Promise<readonly string[] | undefined> {
  if (changed.length === 0) {
    return changed;
  }
  if (way === 'in-order') {
    return inReferenceOrder(run, changed, (table) => hadRows(table, before));
  }
  await run('set local session_replication_role = replica');
  return (await firesAsReplica(run, changed)) ? undefined : changed;
}

/** @returns undefined if rows of the template are not kept */
async function rowsSql(
  run: RunSql,
  tables: readonly string[],
  { before, fixtures }: RestoreOptions,
): Promise<string[] | undefined> {
  // TRUNCATE takes 2 ms for each table; DELETE of the few rows of a test takes hardly any time.
  const deletions = tables.toReversed().map((table) => `delete from only ${table}`);
  const filled = tables.filter((table) => hadRows(table, before));
  const insertions = await insertionsInto(run, fixtures, filled);
  return insertions && [...deletions, ...insertions];
}

function sequencesSql(
  now: DatabaseContents['sequences'],
  before: DatabaseContents['sequences'],
): string[] {
  return Object.keys(before)
    .filter((name) => now[name] !== before[name])
    .map((name) => {
      const [last, isCalled] = before[name]!.split('/');
      return `select setval('${name.replaceAll("'", "''")}'::regclass, ${last}, ${isCalled})`;
    });
}
