import { destroyClient } from '../connection/destroy-client.js';
import type { PgPool } from '../postgresql/pg-client.js';
import { rowsOf } from './rows-of.js';

const CONNECT_TIMEOUT_MS = 10_000;

/** Runs one statement and returns its rows. */
export type RunSql = (
  sql: string,
  values?: readonly unknown[],
) => Promise<Record<string, unknown>[]>;

/** A connection to a database that no application knows of, to make, reset and drop databases. */
export class DatabaseLink {
  readonly #pool: PgPool;

  private constructor(pool: PgPool) {
    this.#pool = pool;
  }

  /** Opens a link, which connects when it is first used. */
  static async open(url: string): Promise<DatabaseLink> {
    // The driver is an optional peer dependency; the rest of lib/testing does without it.
    const { MikroORM } = await import('@mikro-orm/postgresql');
    const orm = await MikroORM.init({
      entities: [],
      discovery: { warnWhenNoEntities: false },
      ensureDatabase: false,
      dbName: 'postgres',
      pool: { min: 0, max: 1 },
      // pg reads the whole URL itself, with its ssl parameters and socket directories.
      driverOptions: {
        connectionString: url,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        // A test that forgets to drop its database must not keep the process alive.
        allowExitOnIdle: true,
      },
    });
    return new DatabaseLink((await orm.em.getConnection().getNativeClient()) as unknown as PgPool);
  }

  /** Runs `work` on one connection, which keeps its locks and session settings until `work` has ended. */
  async use<T>(work: (run: RunSql) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    try {
      const result = await work((sql, values) => rowsOf(client, sql, values));
      client.release();
      return result;
    } catch (error) {
      // The transaction, the locks and the settings of the connection end with it.
      destroyClient(client);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
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
