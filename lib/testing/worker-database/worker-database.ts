import { isTimeLimit, LONGEST_LIMIT_MS } from '../../connection/time-limit.js';
import { InvalidOptionsError } from '../../errors.js';
import { DEFAULTS } from '../../options/defaults.js';
import { databaseNames } from './database-names.js';
import { OwnDatabase } from './own-database.js';
import { ownWorkerId } from './worker-id.js';

/** The database of which the databases of all workers are copies. */
export interface TemplateOptions {
  /** The prefix of the names of all databases that are made; choose one per project and server. */
  readonly name: string;
  /**
   * Fills the template with the schema and the rows that all tests share. It runs once, also when several
   * processes need the template at the same time, and has to close the connections that it opens.
   *
   * @param url the URL of an empty database
   */
  readonly prepare: (url: string) => unknown;
  /**
   * A text that changes when `prepare` would make something else, such as a hash of the migrations, or a
   * function that returns it: the template is then made anew. The newest version before it is kept, older
   * ones are dropped. {@link templateOf} derives it.
   * @defaultValue '', so that the template is made only once
   */
  readonly version?: string | (() => string | Promise<string>);
}

/** Options of {@link createWorkerDatabase}. */
export interface WorkerDatabaseOptions {
  /**
   * URL of a database on the server, the same for all workers; its role may create databases. User,
   * password and parameters are those of the worker's URL as well.
   */
  readonly serverUrl: string;
  readonly template: TemplateOptions;
  /**
   * A text that differs between workers that run at the same time. Where two have the same all the same,
   * as in two runs at once, the second takes the next free name.
   * @defaultValue the worker of Vitest (`VITEST_POOL_ID`), Jest (`JEST_WORKER_ID`), Mocha
   *   (`MOCHA_WORKER_ID`) or node:test (`NODE_TEST_WORKER_ID`), else `process.pid`
   */
  readonly workerId?: string | number;
  /**
   * Keeps the database when it is closed, for the next file or run that asks for one with this worker id
   * and an unchanged template. It is then looked over, and put back as `reset()` does, which takes a
   * fraction of the time of a new copy.
   * @defaultValue false
   */
  readonly reuse?: boolean;
  /**
   * Longest time to wait for another process that makes the template, in milliseconds.
   * @defaultValue 60_000
   */
  readonly prepareTimeoutMs?: number;
}

/** A database that belongs to one worker, see {@link createWorkerDatabase}. */
export interface WorkerDatabase extends AsyncDisposable {
  /** @throws {@link WorkerDatabaseError} it is known that another process has taken the database meanwhile */
  readonly url: string;
  readonly name: string;
  /**
   * Restores the rows and sequences of the template, those that a test has changed or deleted as well, and
   * leaves the connections to the database open. It waits up to 5 s for transactions that are still writing.
   * Where a test has made, changed or dropped a table or another object, and where the rows cannot be put
   * back (docs/testing.md says when), the database is made anew; that closes the connections to it.
   *
   * @throws {@link WorkerDatabaseError}
   * @throws {@link WrongDatabaseError} nothing was deleted
   */
  reset(): Promise<void>;
  /**
   * Gives the database back when the tests have ended: drops it, or with `reuse` keeps it for the next
   * worker that asks for one. May be called again.
   *
   * @throws {@link WorkerDatabaseError}
   * @throws {@link WrongDatabaseError} nothing was dropped
   */
  close(): Promise<void>;
  /**
   * Drops the database, with `reuse` as well, also while clients are connected to it. May be called again.
   * The template stays.
   *
   * @throws {@link WorkerDatabaseError}
   * @throws {@link WrongDatabaseError} nothing was dropped
   */
  drop(): Promise<void>;
}

/**
 * Makes the database of a test worker: a copy of the template with a name that no other process uses
 * meanwhile, so that workers which run at the same time do not share rows. The first call makes the
 * template. Databases that processes left which died are dropped.
 *
 * Needs `@mikro-orm/postgresql` and PostgreSQL 13 or later. As long as the database is open, two
 * connections to the server are, which do not keep the process alive.
 *
 * @throws {@link WorkerDatabaseError} the server cannot be reached, the role may not do it, or `prepare`
 *   failed
 * @throws {@link WrongDatabaseError} something before the server ignores the names of databases
 * @throws {@link InvalidOptionsError} an option is not valid
 * @example
 * ```ts
 * const database = await createWorkerDatabase({
 *   serverUrl: 'postgres://postgres:postgres@localhost:5432/postgres',
 *   template: templateOf(options, { seed: (em) => em.insert(Country, { code: 'AT' }) }),
 * });
 * ```
 * @publicApi
 */
export async function createWorkerDatabase(
  options: WorkerDatabaseOptions,
): Promise<WorkerDatabase> {
  const {
    serverUrl,
    template,
    prepareTimeoutMs = DEFAULTS.createWorkerDatabase.prepareTimeoutMs,
  } = options;
  if (!isTimeLimit(prepareTimeoutMs)) {
    throw new InvalidOptionsError(
      `createWorkerDatabase() was given prepareTimeoutMs: ${String(prepareTimeoutMs)}. Give a number ` +
        `of milliseconds between 1 and ${LONGEST_LIMIT_MS}.`,
    );
  }
  const { version = DEFAULTS.createWorkerDatabase.version } = template;
  const names = databaseNames(
    template.name,
    typeof version === 'string' ? version : await version(),
    String(options.workerId ?? ownWorkerId()),
  );
  const { prepare } = template;
  const { reuse = DEFAULTS.createWorkerDatabase.reuse } = options;
  return OwnDatabase.create(
    { serverUrl, names, prepare, prepareTimeoutMs: Math.ceil(prepareTimeoutMs) },
    reuse ? 'kept' : 'copy',
  );
}
