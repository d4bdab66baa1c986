import type { DbConnection, PoolState } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import type { WireProxy } from '../support/wire-proxy.js';
import { SOAK_SCHEMA } from './entry.entities.js';

const CONNECTIONS = ['default', 'audit'] as const;
export type ConnectionName = (typeof CONNECTIONS)[number];

/** A database that all applications write to. */
export interface SoakDatabase {
  readonly name: ConnectionName;
  readonly database: TestDatabase;
}

/** A database, with the wire of one application to it. */
export interface SoakWire extends SoakDatabase {
  readonly proxy: WireProxy;
}

/** One database of an application, with the wire to it. */
export interface SoakConnection extends SoakWire {
  pool(): PoolState;
  /** Backends of the application that meet a condition on `pg_stat_activity`. */
  backends(condition?: string): Promise<number>;
  /** Ends backends of the application, at most so many. */
  readonly kill: (atMost: number) => Promise<void>;
}

/** A condition for {@link SoakConnection.backends}: what the server sends to them is encrypted. */
export const OVER_TLS = 'pid in (select pid from pg_stat_ssl where ssl)';

export function createDatabases(): Promise<SoakDatabase[]> {
  return Promise.all(
    CONNECTIONS.map(async (name) => {
      const database = await createTestDatabase();
      await database.query(SOAK_SCHEMA);
      return { name, database };
    }),
  );
}

/** @param applicationName by which the server knows the backends of the application */
export function lookingAt(
  wire: SoakWire,
  connection: DbConnection,
  applicationName: string,
): SoakConnection {
  const { database } = wire;
  const ours = `datname = current_database() and application_name = '${applicationName}'`;
  return {
    ...wire,
    pool: () => connection.poolState() ?? { size: 0, checkedOut: 0, idle: 0, waiting: 0 },
    backends: async (condition = 'true') => {
      const [row] = await database.query<{ count: number }>(
        `select count(*)::int as count from pg_stat_activity where ${ours} and ${condition}`,
      );
      return row!.count;
    },
    kill: async (atMost) => {
      await database.query(
        `select pg_terminate_backend(pid) from
           (select pid from pg_stat_activity where ${ours} order by random() limit $1) as chosen`,
        [atMost],
      );
    },
  };
}
