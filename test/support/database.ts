import { randomUUID } from 'node:crypto';
import { Client, Pool, type QueryResultRow } from 'pg';

/** A database of its own for one spec file, with a direct view on it past the code under test. */
export interface TestDatabase {
  /** Connection URL of this database, for the code under test. */
  readonly url: string;
  readonly name: string;
  /**
   * Runs one statement on a direct connection that the code under test knows nothing of, and
   * returns its rows. The place to look at the truth: row counts, `pg_stat_activity`, locks.
   */
  query<Row extends QueryResultRow = QueryResultRow>(
    sql: string,
    params?: readonly unknown[],
  ): Promise<Row[]>;
  /** Closes the direct connections and drops the database, also while clients are connected to it. */
  drop(): Promise<void>;
}

async function onServer(server: string, sql: string): Promise<void> {
  const admin = new Client({ connectionString: server });
  await admin.connect();
  try {
    await admin.query(sql);
  } finally {
    await admin.end();
  }
}

function serverUrl(): string {
  const url = process.env['DB_CONTEXT_TEST_URL'];
  if (url === undefined) {
    throw new Error("DB_CONTEXT_TEST_URL is not set; Jest's global setup sets it");
  }
  return url;
}

/** Through the pooler at `DB_CONTEXT_TEST_POOLER` (`host:port`), if `npm run test:pgbouncer` set it. */
function throughPooler(direct: URL): URL {
  const pooler = process.env['DB_CONTEXT_TEST_POOLER'];
  const url = new URL(direct);
  if (pooler !== undefined) url.host = pooler;
  return url;
}

/**
 * Creates an empty database with a unique name.
 *
 * @param server URL of the server; by default that of `DB_CONTEXT_TEST_URL`
 * @throws Error when `DB_CONTEXT_TEST_URL` is not set, and what `pg` throws when the server fails
 */
export async function createTestDatabase(server = serverUrl()): Promise<TestDatabase> {
  const name = `spec_${randomUUID().replaceAll('-', '')}`;
  // template0, because nobody can be connected to it; a session on template1 makes this fail.
  await onServer(server, `create database ${name} template template0`);

  const direct = new URL(server);
  direct.pathname = name;
  // Two, so that parallel looks at the truth do not queue behind one another.
  const pool = new Pool({ connectionString: direct.href, max: 2 });
  // Without this listener a loss would end the process; the next query() reports it anyway.
  pool.on('error', () => undefined);

  return {
    url: throughPooler(direct).href,
    name,
    query: async <Row extends QueryResultRow>(sql: string, params: readonly unknown[] = []) =>
      (await pool.query<Row>(sql, [...params])).rows,
    drop: async () => {
      await pool.end();
      await onServer(server, `drop database ${name} with (force)`);
    },
  };
}
