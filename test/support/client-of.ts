import type { EntityManager } from '@mikro-orm/core';
import type { DbConnection } from 'nestjs-db-context';

import { clientsOf, type PgClient } from '../../lib/postgresql/pg-client.js';

/** The client of the pool that a session's transaction runs on, to use it past the session. */
export async function clientOf(
  session: EntityManager,
  connection: DbConnection,
): Promise<PgClient> {
  const rows = await session
    .getConnection()
    .execute<{ pid: number }[]>(
      'select pg_backend_pid() as pid',
      [],
      'all',
      session.getTransactionContext(),
    );
  const client = clientsOf(await connection.pool()).find(
    ({ processID }) => processID === rows[0]!.pid,
  );
  if (client === undefined) {
    throw new Error(`no client of the pool is on backend ${rows[0]!.pid}`);
  }
  return client;
}
