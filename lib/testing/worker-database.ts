import { isTimeLimit, LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULTS } from '../options/defaults.js';
import { restoreContents, type DatabaseContents } from './database-contents.js';
import { DatabaseLink, onDatabase, type RunSql } from './database-link.js';
import { adminUrlOf, databaseNames, quoteIdentifier, urlOf } from './database-names.js';
import { ensureTemplate, underLock, whenFree, type TemplatePlan } from './template-database.js';
import { WorkerDatabaseError, type WorkerDatabaseStep } from './worker-database-error.js';

/** How often a template may be dropped by others just before it is copied. */
const ATTEMPTS = 5;

/** The database that those of all workers are copies of. */
export interface TemplateOptions {
  /** Begins the names of all databases that are made. One per project and server. */
  readonly name: string;
  /**
   * Fills the template, with migrations and what all tests share. Runs once, whoever else asks
   * meanwhile, and closes what it opens.
   *
   * @param url of an empty database
   */
  readonly prepare: (url: string) => unknown;
  /**
   * Changes when `prepare` would make something else, such as a hash of the migrations: the template
   * is then made anew. The newest version before it is kept, older ones are dropped.
   * @defaultValue '', so that the template is made once and for all
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
   * Tells those apart who run at the same time.
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
   * Puts everything back to what the template holds: rows and sequences. It deletes what was written
   * to tables that the template left empty, which takes a few milliseconds, and waits up to 5 s for
   * transactions that are still writing. Where that is not enough (a test has changed rows of the
   * template, or made or dropped a table), and where the role is no superuser, the database is made
   * anew; that closes the connections to it.
   *
   * @throws {@link WorkerDatabaseError}
   */
  reset(): Promise<void>;
  /**
   * Drops it, whoever is still connected. May be called again. The template stays.
   *
   * @throws {@link WorkerDatabaseError}
   */
  drop(): Promise<void>;
}

/**
 * Makes the database of a test worker: a copy of the template, made anew each time it is asked for,
 * so that workers which run at the same time do not meet. The first one to ask makes the template.
 *
 * Needs `@mikro-orm/postgresql` and PostgreSQL 13 or later.
 *
 * @throws {@link WorkerDatabaseError} the server, the role or `prepare` does not let it
 * @throws {@link InvalidOptionsError} an option cannot be
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
      // Of two who name the same worker at once, one waits.
      await underLock(run, worker, plan.prepareTimeoutMs, async () => {
        await run(dropSql(worker));
        // The server's own strategy: since version 15 wal_log, which is faster for small databases.
        await whenFree(
          run,
          `create database ${quoteIdentifier(worker)} template ${quoteIdentifier(template)}`,
        );
      });
      return contents;
    } catch (error) {
      // A process with a newer version has cleaned up meanwhile.
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

/** Of the network or of the log-in (SQLSTATE 28...), or the driver is not installed. */
function isConnectFailure(error: unknown): boolean {
  const { code, syscall } = error as { readonly code?: unknown; readonly syscall?: unknown };
  return (
    error instanceof AggregateError ||
    syscall !== undefined ||
    code === 'ERR_MODULE_NOT_FOUND' ||
    String(code).startsWith('28')
  );
}
