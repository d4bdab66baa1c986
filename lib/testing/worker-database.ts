import { isTimeLimit, LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULTS } from '../options/defaults.js';
import { restoreContents, type DatabaseContents } from './database-contents.js';
import { DatabaseLink, onDatabase, type RunSql } from './database-link.js';
import { adminUrlOf, databaseNames, quoteIdentifier, urlOf } from './database-names.js';
import { ensureTemplate, underLock, whenFree, type TemplatePlan } from './template-database.js';
import { WorkerDatabaseError, type WorkerDatabaseStep } from './worker-database-error.js';

/** How often a template is made again after another process dropped it just before it was copied. */
const ATTEMPTS = 5;

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
   * A text that changes when `prepare` would make something else, such as a hash of the migrations: the
   * template is then made anew. The newest version before it is kept, older ones are dropped.
   * @defaultValue '', so that the template is made only once
   */
  readonly version?: string;
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
   * A text that differs between workers that run at the same time.
   * @defaultValue the worker of Vitest (`VITEST_POOL_ID`), Jest (`JEST_WORKER_ID`) or Mocha
   *   (`MOCHA_WORKER_ID`), else `process.pid`
   */
  readonly workerId?: string | number;
  /**
   * Longest time to wait for another process that makes the template, in milliseconds.
   * @defaultValue 60_000
   */
  readonly prepareTimeoutMs?: number;
}

/** A database that belongs to one worker, see {@link createWorkerDatabase}. */
export interface WorkerDatabase extends AsyncDisposable {
  readonly url: string;
  readonly name: string;
  /**
   * Restores the rows and sequences of the template. It deletes the rows of tables that are empty in the
   * template, which takes a few milliseconds, and waits up to 5 s for transactions that are still
   * writing. Where that is not enough (a test has changed rows of the template, or made or dropped a
   * table), and where the role is no superuser, the database is made anew; that closes the connections to
   * it.
   *
   * @throws {@link WorkerDatabaseError}
   */
  reset(): Promise<void>;
  /**
   * Drops the database, also while clients are connected to it. May be called again. The template stays.
   *
   * @throws {@link WorkerDatabaseError}
   */
  drop(): Promise<void>;
}

/**
 * Makes the database of a test worker: a new copy of the template at each call, so that workers which run
 * at the same time do not share rows. The first call makes the template.
 *
 * Needs `@mikro-orm/postgresql` and PostgreSQL 13 or later.
 *
 * @throws {@link WorkerDatabaseError} the server cannot be reached, the role may not do it, or `prepare`
 *   failed
 * @throws {@link InvalidOptionsError} an option is not valid
 * @example
 * ```ts
 * const database = await createWorkerDatabase({
 *   serverUrl: 'postgres://postgres:postgres@localhost:5432/postgres',
 *   template: { name: 'shop_test', prepare: migrate, version: hashOfMigrations() },
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
  const workerId = String(options.workerId ?? ownWorkerId());
  const names = databaseNames(
    template.name,
    template.version ?? DEFAULTS.createWorkerDatabase.version,
    workerId,
  );
  const { prepare } = template;
  const plan: TemplatePlan = {
    serverUrl,
    names,
    prepare,
    prepareTimeoutMs: Math.ceil(prepareTimeoutMs),
  };
  const adminUrl = adminUrlOf(serverUrl);
  return OwnDatabase.create(adminUrl, plan);
}

class OwnDatabase implements WorkerDatabase {
  readonly url: string;
  readonly name: string;
  readonly #adminUrl: string;
  readonly #plan: TemplatePlan;
  #contents: DatabaseContents;
  #link: DatabaseLink | undefined;

  private constructor(adminUrl: string, plan: TemplatePlan, contents: DatabaseContents) {
    this.name = plan.names.worker;
    this.url = urlOf(plan.serverUrl, this.name);
    this.#adminUrl = adminUrl;
    this.#plan = plan;
    this.#contents = contents;
  }

  static async create(adminUrl: string, plan: TemplatePlan): Promise<OwnDatabase> {
    const contents = await attempt('create', plan.names.worker, () =>
      onDatabase(adminUrl, (run) => copyTemplate(run, plan)),
    );
    return new OwnDatabase(adminUrl, plan, contents);
  }

  async reset(): Promise<void> {
    await attempt('reset', this.name, async () => {
      this.#link ??= await DatabaseLink.open(this.url);
      if (!(await this.#link.use((run) => restoreContents(run, this.#contents)))) {
        await this.#disconnect();
        this.#contents = await onDatabase(this.#adminUrl, (run) => copyTemplate(run, this.#plan));
      }
    });
  }

  async drop(): Promise<void> {
    await attempt('drop', this.name, async () => {
      await this.#disconnect();
      await onDatabase(this.#adminUrl, (run) => run(dropSql(this.name)));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drop();
  }

  async #disconnect(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    await link?.close();
  }
}

async function copyTemplate(run: RunSql, plan: TemplatePlan): Promise<DatabaseContents> {
  const { template, worker } = plan.names;
  for (let count = 1; ; count++) {
    const contents = await ensureTemplate(run, plan);
    try {
      // Two processes may use the same worker id at the same time; then one waits for the other.
      await underLock(run, worker, plan.prepareTimeoutMs, async () => {
        await run(dropSql(worker));
        // No strategy is given: the default since version 15, wal_log, is faster for small databases.
        await whenFree(
          run,
          `create database ${quoteIdentifier(worker)} template ${quoteIdentifier(template)}`,
        );
      });
      return contents;
    } catch (error) {
      // A process with a newer version of the template has dropped this one meanwhile.
      const isGone = (error as { readonly code?: unknown }).code === '3D000';
      if (!isGone || count === ATTEMPTS) {
        throw error;
      }
    }
  }
}

function dropSql(name: string): string {
  return `drop database if exists ${quoteIdentifier(name)} with (force)`;
}

function ownWorkerId(): string | number {
  const { VITEST_POOL_ID, JEST_WORKER_ID, MOCHA_WORKER_ID } = process.env;
  return VITEST_POOL_ID ?? JEST_WORKER_ID ?? MOCHA_WORKER_ID ?? process.pid;
}

async function attempt<T>(
  step: WorkerDatabaseStep,
  name: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof WorkerDatabaseError || error instanceof InvalidOptionsError) {
      throw error;
    }
    throw new WorkerDatabaseError(isConnectFailure(error) ? 'connect' : step, name, error);
  }
}

/** Whether the network or the log-in (SQLSTATE 28...) failed, or the driver is not installed. */
function isConnectFailure(error: unknown): boolean {
  const { code, syscall } = error as { readonly code?: unknown; readonly syscall?: unknown };
  return (
    error instanceof AggregateError ||
    syscall !== undefined ||
    code === 'ERR_MODULE_NOT_FOUND' ||
    String(code).startsWith('28')
  );
}
