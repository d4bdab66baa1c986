import { Socket } from 'node:net';

import { destroyClient } from '../../connection/destroy-client.js';
import type { PgClient, PgPool } from '../../postgresql/pg-client.js';
import { databaseNameOf } from './database-names.js';
import { rowsOf } from '../rows-of.js';
import { WrongDatabaseError } from './worker-database-error.js';

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * What each connection begins with. The marks of many tables are read in one query, which the planner
 * would hand to parallel workers although it reads hardly a row. Rows that are kept as text are written
 * and read alike, whatever the database says. A lock must outlive a long pause.
 */
const SET_UP = `
  select current_database() as name,
    set_config('max_parallel_workers_per_gather', '0', false),
    set_config('jit', 'off', false),
    set_config('datestyle', 'ISO', false), set_config('intervalstyle', 'postgres', false),
    set_config('extra_float_digits', '1', false), set_config('bytea_output', 'hex', false),
    set_config('lc_monetary', 'C', false),
    case when current_setting('server_version_num')::int >= 140000
      then set_config('idle_session_timeout', '0', false) end`;

/** Runs one statement and returns its rows. */
export type RunSql = (
  sql: string,
  values?: readonly unknown[],
) => Promise<Record<string, unknown>[]>;

/** What the owner of a {@link DatabaseLink} does with its connections. */
export interface LinkHooks {
  /** Called with each connection that is opened, before it is used. */
  readonly onConnect?: (run: RunSql) => Promise<void>;
  /** Called when a connection has ended, unless the link was closed. */
  readonly onLost?: () => void;
}

/**
 * One connection to a database that no application knows of, to make, reset and drop databases. Where it
 * is lost, the next use opens another. Each is asked where it has led to before it is used.
 */
export class DatabaseLink {
  readonly #pool: PgPool;
  readonly #databaseName: string;
  readonly #hooks: LinkHooks;
  readonly #ready = new WeakSet<PgClient>();

  #isClosed = false;

  private constructor(pool: PgPool, databaseName: string, hooks: LinkHooks) {
    this.#pool = pool;
    this.#databaseName = databaseName;
    this.#hooks = hooks;
    pool.on('remove', () => {
      if (!this.#isClosed) {
        hooks.onLost?.();
      }
    });
  }

  /** Opens a link, which connects when it is first used. */
  static async open(url: string, hooks: LinkHooks = {}): Promise<DatabaseLink> {
    // The driver is an optional peer dependency; the rest of lib/testing does without it.
    const { MikroORM } = await import('@mikro-orm/postgresql');
    const orm = await MikroORM.init({
      entities: [],
      discovery: { warnWhenNoEntities: false },
      ensureDatabase: false,
      dbName: 'postgres',
      pool: { min: 0, max: 1, idleTimeoutMillis: 0 },
      // pg reads the whole URL itself, with its ssl parameters and socket directories.
      driverOptions: {
        connectionString: url,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        // A test that forgets to drop its database must not keep the process alive.
        allowExitOnIdle: true,
        // pg would load the module of sockets each time, which Jest reports as a failure after the last test of
        // a file that has not closed its database.
        stream: () => new Socket(),
      },
    });
    const pool = (await orm.em.getConnection().getNativeClient()) as unknown as PgPool;
    return new DatabaseLink(pool, databaseNameOf(url), hooks);
  }

  /**
   * Runs `work` on the connection, which keeps its locks and settings. Where `work` fails, it is closed.
   *
   * @throws {@link WrongDatabaseError} it has led to another database; nothing was sent there
   */
  async use<T>(work: (run: RunSql) => Promise<T>): Promise<T> {
    const client = await this.#connect();
    try {
      const result = await work(runOn(client));
      client.release();
      return result;
    } catch (error) {
      // The transaction, the locks and the settings of the connection end with it.
      destroyClient(client);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pool.end();
  }

  /** @returns a client that is set up, and that was there a moment ago */
  async #connect(): Promise<PgClient> {
    const idle = await this.#pool.connect();
    if (this.#ready.has(idle)) {
      try {
        await idle.query('select');
        return idle;
      } catch {
        // The server, or what is between, has ended it since it was used.
        destroyClient(idle);
        return this.#connect();
      }
    }
    try {
      await this.#setUp(runOn(idle));
    } catch (error) {
      destroyClient(idle);
      throw error;
    }
    this.#ready.add(idle);
    return idle;
  }

  async #setUp(run: RunSql): Promise<void> {
    const [row] = await run(SET_UP);
    const reached = row!['name'] as string;
    if (reached !== this.#databaseName) {
      throw new WrongDatabaseError(this.#databaseName, reached);
    }
    await this.#hooks.onConnect?.(run);
  }
}

function runOn(client: PgClient): RunSql {
  return (sql, values) => rowsOf(client, sql, values);
}

/** Opens a link for as long as `work` takes. */
export async function onDatabase<T>(url: string, work: (run: RunSql) => Promise<T>): Promise<T> {
  const link = await DatabaseLink.open(url);
  try {
    return await link.use(work);
  } finally {
    await link.close();
  }
}
