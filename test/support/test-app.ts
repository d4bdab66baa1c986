import type { AddressInfo } from 'node:net';

import { defineConfig, type Options } from '@mikro-orm/postgresql';
import type { DynamicModule, INestApplication, Provider, Type } from '@nestjs/common';
import type { ExpressAdapter } from '@nestjs/platform-express';
import type { FastifyAdapter, NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  DbConnection,
  DbContext,
  DbContextModule,
  getConnectionToken,
  getSessionToken,
  type ConnectionLimits,
  type ConnectionResetOptions,
  type ConnectionTransactionOptions,
  type DbConnectionOptions,
  type DbContextOptions,
  type PoolState,
} from 'nestjs-db-context';
import type { EntityManager } from '@mikro-orm/postgresql';

import { Note } from './note.entity.js';

export type AdapterName = 'express' | 'fastify';

export interface TestAppOptions extends DbContextOptions {
  /** An adapter object stands for one that serves otherwise, HTTP/2 for example. */
  readonly adapter?: AdapterName | ExpressAdapter | FastifyAdapter;
  readonly connections: readonly DbConnectionOptions[];
  readonly controllers?: readonly Type[];
  readonly providers?: readonly Provider[];
  readonly imports?: readonly (DynamicModule | Type)[];
  /**
   * Whether `close()` cuts off what browsers and `fetch()` keep open.
   * @defaultValue true
   */
  readonly forceCloseConnections?: boolean;
  /** Called before the application is initialised. */
  readonly configure?: (app: INestApplication) => void;
}

/** A running application with what tests look at. */
export interface TestApp {
  readonly app: INestApplication;
  readonly url: string;
  readonly dbContext: DbContext;
  readonly session: (name?: string) => EntityManager;
  readonly connection: (name?: string) => DbConnection;
  /** Counters of a pool, all zero while it has not been used. */
  readonly pool: (name?: string) => PoolState;
  readonly fetch: (path: string, init?: RequestInit) => Promise<Response>;
  readonly close: () => Promise<void>;
}

/** Options of a connection with `Note`, over a pool of 5. */
export function noteConnection(
  clientUrl: string,
  extra: ConnectionLimits &
    ConnectionResetOptions &
    ConnectionTransactionOptions &
    Pick<Options, 'entities' | 'entityManager'> & {
      name?: string;
      poolMax?: number;
      applicationName?: string;
    } = {},
): DbConnectionOptions {
  const { poolMax = 5, applicationName, name, ...limits } = extra;
  return {
    ...defineConfig({
      clientUrl,
      entities: [Note],
      pool: { min: 0, max: poolMax },
      ...(applicationName !== undefined && {
        driverOptions: { application_name: applicationName },
      }),
    }),
    ...(name !== undefined && { name }),
    ...limits,
  };
}

/** Loads the HTTP server that is asked for only: most spec files need one of the two. */
async function createAdapter(
  adapter: NonNullable<TestAppOptions['adapter']>,
): Promise<ExpressAdapter | FastifyAdapter> {
  if (typeof adapter !== 'string') {
    return adapter;
  }
  if (adapter === 'express') {
    const express = await import('@nestjs/platform-express');
    return new express.ExpressAdapter();
  }
  const fastify = await import('@nestjs/platform-fastify');
  return new fastify.FastifyAdapter();
}

/** Starts an application that listens on a free port. */
export async function startApp(options: TestAppOptions): Promise<TestApp> {
  const { adapter = 'express', controllers, providers, imports, configure, ...others } = options;
  const { forceCloseConnections = true, ...root } = others;
  const testingModule = await Test.createTestingModule({
    // What tests do on purpose is what the watch warns of.
    imports: [DbContextModule.forRoot({ watch: false, ...root }), ...(imports ?? [])],
    controllers: [...(controllers ?? [])],
    providers: [...(providers ?? [])],
  }).compile();
  const app = testingModule.createNestApplication<INestApplication | NestFastifyApplication>(
    (await createAdapter(adapter)) as never,
    { logger: false, forceCloseConnections },
  );
  configure?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const connection = (name?: string): DbConnection => app.get(getConnectionToken(name));
  return {
    app,
    url,
    dbContext: app.get(DbContext),
    session: (name) => app.get(getSessionToken(name)),
    connection,
    pool: (name) => connection(name).poolState() ?? { size: 0, checkedOut: 0, idle: 0, waiting: 0 },
    fetch: (path, init) => fetch(`${url}${path}`, init),
    close: () => app.close(),
  };
}
