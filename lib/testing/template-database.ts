import { randomBytes } from 'node:crypto';

import { readContents, type DatabaseContents } from './database-contents.js';
import { onDatabase, type RunSql } from './database-link.js';
import { lockKeyOf, quoteIdentifier, urlOf, type DatabaseNames } from './database-names.js';
import { WorkerDatabaseError } from './worker-database-error.js';

/**
 * How often a statement is sent that fails while others are connected to its database. The server itself
 * waits 5 s for them each time.
 */
const ATTEMPTS = 3;

/** How a template is made. */
export interface TemplatePlan {
  readonly serverUrl: string;
  readonly names: DatabaseNames;
  readonly prepare: (url: string) => unknown;
  readonly prepareTimeoutMs: number;
}

/**
 * Makes the template unless it exists already. Other processes that need it meanwhile wait.
 *
 * The template is made under another name and renamed when it is complete, so that an incomplete one is
 * never taken for it.
 *
 * @returns the contents of the template
 * @throws {@link WorkerDatabaseError}
 */
export async function ensureTemplate(run: RunSql, plan: TemplatePlan): Promise<DatabaseContents> {
  const { names, prepareTimeoutMs } = plan;
  const ready = await findTemplate(run, names.template);
  if (ready !== undefined) {
    return ready;
  }
  return underLock(run, names.templatePrefix, prepareTimeoutMs, async () => {
    // The process that had the lock before may have made it.
    const made = await findTemplate(run, names.template);
    if (made !== undefined) {
      return made;
    }
    const contents = await makeTemplate(run, plan);
    await dropOldVersions(run, names);
    return contents;
  });
}

/**
 * Runs `work` under an advisory lock of the server, which no other process has at the same time. The
 * server releases it when the process that has it dies.
 *
 * @param waitMs longest time to wait for the lock, in milliseconds
 */
export async function underLock<T>(
  run: RunSql,
  name: string,
  waitMs: number,
  work: () => Promise<T>,
): Promise<T> {
  const key = lockKeyOf(name);
  await run(`set lock_timeout = ${waitMs}`);
  await run('select pg_advisory_lock($1::bigint)', [key]);
  await run('reset lock_timeout');
  try {
    return await work();
  } finally {
    await run('select pg_advisory_unlock($1::bigint)', [key]);
  }
}

/** Sends a statement, and sends it again a few times while it fails because the database is in use. */
export async function whenFree(run: RunSql, sql: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await run(sql);
      return;
    } catch (error) {
      if (attempt === ATTEMPTS || (error as { readonly code?: unknown }).code !== '55006') {
        throw error;
      }
    }
  }
}

async function findTemplate(run: RunSql, name: string): Promise<DatabaseContents | undefined> {
  const [row] = await run(
    `select shobj_description(oid, 'pg_database') as contents from pg_database where datname = $1`,
    [name],
  );
  return row === undefined
    ? undefined
    : (JSON.parse(row['contents'] as string) as DatabaseContents);
}

async function makeTemplate(run: RunSql, plan: TemplatePlan): Promise<DatabaseContents> {
  const { serverUrl, names, prepare } = plan;
  await dropUnfinished(run, names);
  const making = `${names.makingPrefix}${randomBytes(5).toString('hex')}`;
  const quoted = quoteIdentifier(making);
  const url = urlOf(serverUrl, making);
  await whenFree(run, `create database ${quoted}`);
  try {
    await prepare(url);
  } catch (error) {
    // Where this fails as well, the next process that makes a template drops the database.
    await run(`drop database if exists ${quoted} with (force)`).catch(() => undefined);
    throw new WorkerDatabaseError('prepare', names.template, error);
  }
  const contents = await onDatabase(url, readContents);
  // PostgreSQL copies a database only while no client is connected to it.
  await run(`alter database ${quoted} with allow_connections false`);
  await run('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [making]);
  // COMMENT takes no parameters, so the server quotes the text before.
  const [row] = await run('select quote_literal($1::text) as literal', [JSON.stringify(contents)]);
  await run(`comment on database ${quoted} is ${String(row!['literal'])}`);
  await whenFree(run, `alter database ${quoted} rename to ${quoteIdentifier(names.template)}`);
  return contents;
}

/** Drops what processes left that died while they made a template: only one makes one at a time. */
async function dropUnfinished(run: RunSql, { makingPrefix }: DatabaseNames): Promise<void> {
  for (const name of await databasesWith(run, makingPrefix)) {
    await run(`drop database if exists ${quoteIdentifier(name)} with (force)`);
  }
}

/**
 * Drops all versions but the current one and the newest one before: two branches of the code that are
 * tested in turn keep theirs. A process that still needs a dropped version makes it again.
 */
async function dropOldVersions(run: RunSql, names: DatabaseNames): Promise<void> {
  const others = (await databasesWith(run, names.templatePrefix)).filter(
    (name) => name !== names.template,
  );
  for (const name of others.slice(1)) {
    await run(`drop database if exists ${quoteIdentifier(name)} with (force)`);
  }
}

/**
 * The databases of a prefix, the newest first. Only names with ten hexadecimal digits after the prefix
 * count, so that no other database with such a prefix is touched.
 */
async function databasesWith(run: RunSql, prefix: string): Promise<string[]> {
  const rows = await run(
    `select datname as name from pg_database
     where starts_with(datname, $1) and substr(datname, length($1) + 1) ~ '^[0-9a-f]{10}$'
     order by oid desc`,
    [prefix],
  );
  return rows.map(({ name }) => name as string);
}
