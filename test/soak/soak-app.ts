import type { AddressInfo } from 'node:net';

import { defineConfig } from '@mikro-orm/postgresql';
import { Module } from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import {
  DbContextModule,
  getConnectionToken,
  type ConnectionLimits,
  type DbConnection,
  type PoolState,
} from 'nestjs-db-context';

import { ErrorBodyFilter } from '../faults/support/error-body.filter.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { WireProxy } from '../support/wire-proxy.js';
import { Entry, SOAK_SCHEMA, Tally } from './entry.entities.js';
import { SoakController } from './soak.controller.js';

const CONNECTIONS = ['default', 'audit'] as const;
type Name = (typeof CONNECTIONS)[number];

const POOL_SIZES: Readonly<Record<Name, number>> = { default: 8, audit: 4 };
const APPLICATION_NAME = 'soak';

/** Short, so that every fault has its end well within a round. */
const LIMITS: ConnectionLimits = {
  acquireTimeoutMs: 2_000,
  deadlockTimeoutMs: 300,
  transactionTimeoutMs: 2_500,
  drainTimeoutMs: 500,
  endTimeoutMs: 1_000,
};

/** One database of the application, with the wire to it. */
export interface SoakConnection {
  readonly name: Name;
  readonly database: TestDatabase;
  readonly proxy: WireProxy;
  pool(): PoolState;
  /** Backends of the application that meet a condition on `pg_stat_activity`. */
  backends(condition?: string): Promise<number>;
  /** Ends backends of the application, at most so many. */
  readonly kill: (atMost: number) => Promise<void>;
}

export interface SoakApp {
  readonly url: string;
  readonly connections: readonly SoakConnection[];
  readonly openContexts: () => number;
  close(): Promise<void>;
}

@Module({})
class SoakModule {}

export async function startSoakApp(): Promise<SoakApp> {
  const databases = await Promise.all(
    CONNECTIONS.map(async (name) => {
      const database = await createTestDatabase();
      await database.query(SOAK_SCHEMA);
      return { name, database, proxy: await WireProxy.start(database.url) };
    }),
  );
  const root = DbContextModule.forRoot({
    watch: false,
    contextTimeoutMs: 4_000,
    shutdownTimeoutMs: 2_000,
    connections: databases.map(({ name, proxy }) => ({
      name,
      ...defineConfig({
        clientUrl: proxy.url,
        entities: [Entry, Tally],
        pool: { min: 0, max: POOL_SIZES[name] },
        driverOptions: { application_name: APPLICATION_NAME },
      }),
      ...LIMITS,
    })),
  });
  const app = await NestFactory.create(
    { module: SoakModule, imports: [root], controllers: [SoakController] },
    { logger: false, forceCloseConnections: true },
  );
  app.useGlobalFilters(new ErrorBodyFilter(app.get(HttpAdapterHost)));
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const host = app.get<{ readonly runningCount: number }>(await contextHost());
  return {
    url: `http://127.0.0.1:${port}`,
    openContexts: () => host.runningCount,
    connections: databases.map((each) => ({
      ...each,
      ...lookingAt(each.database, app.get<DbConnection>(getConnectionToken(each.name))),
    })),
    close: async () => {
      await app.close();
      for (const { proxy, database } of databases) {
        await proxy.stop();
        await database.drop();
      }
    },
  };
}

function lookingAt(
  database: TestDatabase,
  connection: DbConnection,
): Pick<SoakConnection, 'pool' | 'backends' | 'kill'> {
  const ours = `datname = current_database() and application_name = '${APPLICATION_NAME}'`;
  return {
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

/** The class that knows the open contexts is internal: it is looked for in the built package. */
async function contextHost(): Promise<new () => unknown> {
  const url = new URL('context/context-registry.js', import.meta.resolve('nestjs-db-context'));
  const { ContextRegistry } = (await import(url.href)) as { ContextRegistry: new () => unknown };
  return ContextRegistry;
}
