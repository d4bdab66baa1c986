import { randomBytes } from 'node:crypto';

import { underLock } from './advisory-locks.js';
import { readContents } from './database-contents.js';
import { onDatabase, type RunSql } from './database-link.js';
import { findDatabase, listDatabases, markDatabase, type MarkedDatabase } from './database-mark.js';
import { quoteIdentifier, urlOf, type DatabaseNames } from './database-names.js';
import { keepFixtures } from './fixture-rows.js';
import { isLeftByClients } from './left-behind.js';
import { WorkerDatabaseError, WrongDatabaseError } from './worker-database-error.js';

/**
 * How often a statement is sent that fails while others are connected to its database. The server itself
 * waits 5 s for them each time.
 */
const ATTEMPTS = 3;
/** The end of the name of a template, and of a database that is not ready. */
const TEN_DIGITS = /^[0-9a-f]{10}$/;

/** How a template is made. */
export interface TemplatePlan {
  readonly serverUrl: string;
  readonly names: DatabaseNames;
  readonly prepare: (url: string) => unknown;
  readonly prepareTimeoutMs: number;
}

/** A template that is ready. */
export interface Template extends Pick<MarkedDatabase, 'contents' | 'fixtures'> {
  readonly id: string;
}

/**
 * Makes the template unless it exists already. Other processes that need it meanwhile wait.
 *
 * The template is made under another name and renamed when it is complete, so that an incomplete one is
 * never taken for it.
 *
 * @throws {@link WorkerDatabaseError}
 * @throws {@link WrongDatabaseError}
 */
export async function ensureTemplate(run: RunSql, plan: TemplatePlan): Promise<Template> {
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
    const template = await makeTemplate(run, plan);
    await dropOldVersions(run, names);
    return template;
  });
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

/** A name that no database has yet. */
export function newName(prefix: string): string {
  return `${prefix}${randomBytes(5).toString('hex')}`;
}

/** Whether {@link newName} gave the name. No other database with such a prefix is touched. */
export function hasGivenName(name: string, prefix: string): boolean {
  return name.startsWith(prefix) && TEN_DIGITS.test(name.slice(prefix.length));
}

export function dropSql(name: string): string {
  return `drop database if exists ${quoteIdentifier(name)} with (force)`;
}

async function findTemplate(run: RunSql, name: string): Promise<Template | undefined> {
  const found = await findDatabase(run, name);
  if (found === 'foreign') {
    throw new WorkerDatabaseError(
      'create',
      name,
      'there is a database of that name, of another origin',
    );
  }
  return found && { ...found, id: found.mark.templateId };
}

async function makeTemplate(run: RunSql, plan: TemplatePlan): Promise<Template> {
  const { serverUrl, names, prepare } = plan;
  const making = newName(names.makingPrefix);
  const url = urlOf(serverUrl, making);
  await expectNone(url);
  await dropUnfinished(run, names);
  await whenFree(run, `create database ${quoteIdentifier(making)}`);
  try {
    // A connection to it, and none to another, is what prepare() will get.
    await onDatabase(url, () => Promise.resolve());
    await prepare(url);
  } catch (error) {
    // Where this fails as well, the next process that makes a template drops the database.
    await dropUnlessUsed(run, making).catch(() => undefined);
    throw error instanceof WrongDatabaseError
      ? error
      : new WorkerDatabaseError('prepare', names.template, error);
  }
  const { contents, fixtures } = await onDatabase(url, takeStock);
  const id = making.slice(names.makingPrefix.length);
  // PostgreSQL copies a database only while no client is connected to it.
  await run(`alter database ${quoteIdentifier(making)} with allow_connections false`);
  await run('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [making]);
  await markDatabase(run, making, {
    mark: { kind: 'template', template: names.template, templateId: id },
    contents,
    fixtures,
  });
  await whenFree(
    run,
    `alter database ${quoteIdentifier(making)} rename to ${quoteIdentifier(names.template)}`,
  );
  return { id, contents, fixtures };
}

/** Reads what is in the template that `run` is connected to, and keeps its rows in it. */
async function takeStock(run: RunSql): Promise<Pick<MarkedDatabase, 'contents' | 'fixtures'>> {
  const fixtures = await keepFixtures(run, await readContents(run));
  // Where rows are kept as large objects, those stand in the catalogs.
  return { contents: await readContents(run), fixtures };
}

/**
 * Asks for a database that does not exist, before anything is created.
 *
 * @throws {@link WrongDatabaseError} there was an answer all the same, from another database
 */
async function expectNone(url: string): Promise<void> {
  try {
    await onDatabase(url, () => Promise.resolve());
  } catch (error) {
    if (error instanceof WrongDatabaseError) {
      throw error;
    }
    // That it does not exist, as it should. Any other reason shows again where the database exists.
  }
}

/** Drops what processes left that died while they made a template: only one makes one at a time. */
async function dropUnfinished(run: RunSql, { makingPrefix }: DatabaseNames): Promise<void> {
  for (const name of await databasesWith(run, makingPrefix)) {
    await dropUnlessUsed(run, name);
  }
}

/**
 * Drops a database that is not ready. A client that `prepare` has left connected, or whose process has lost the
 * lock, is not ended: it would emit an error, which ends a process that listens to none and hides the reason of
 * the failure. Then the next one that makes a template drops the database.
 */
async function dropUnlessUsed(run: RunSql, name: string): Promise<void> {
  if (await isLeftByClients(run, name)) {
    await run(dropSql(name));
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
    await run(dropSql(name));
  }
}

/** The databases whose names were given with a prefix, the newest first. */
async function databasesWith(run: RunSql, prefix: string): Promise<string[]> {
  const all = await listDatabases(run, [prefix]);
  return all.map(({ name }) => name).filter((name) => hasGivenName(name, prefix));
}
