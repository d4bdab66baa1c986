import type { AddressInfo } from 'node:net';

import type { MikroORM } from '@mikro-orm/core';
import {
  defineConfig,
  type EntityManager,
  type Options,
  type PostgreSqlConnection,
} from '@mikro-orm/postgresql';
import { Module, type INestApplication } from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import {
  getSessionToken,
  type ConnectionLimits,
  type ConnectionTransactionOptions,
  type PoolState,
} from 'nestjs-db-context';

import { ExpressAdapter } from '@nestjs/platform-express';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Author, Book } from '../../support/library.entities.js';
import { LogRecorder } from '../../support/log-recorder.js';
import { Note } from '../../support/note.entity.js';
import { startApp, type TestApp, type TestAppOptions } from '../../support/test-app.js';
import type { WireProxy } from '../../support/wire-proxy.js';
import { ErrorBodyFilter, type ErrorBody } from './error-body.filter.js';
import type { FaultDatabase } from './fault-database.js';
import { Scenario, ScenarioGuard } from './scenario.js';
import {
  LibraryUnitOfWork,
  PlainUnitOfWork,
  UnitOfWork,
  type PlainSettings,
} from './units-of-work.js';
import { startWire, type FaultWire } from './wire-kind.js';
import { WorkController } from './work.controller.js';

export const POOL_SIZE = 5;

export type Limits = ConnectionLimits &
  ConnectionTransactionOptions & {
    readonly poolMax?: number;
    /** Options of pg itself. */
    readonly driverOptions?: Record<string, unknown>;
  };

/** What a client got. */
export interface Answer {
  readonly key: string;
  /** 0 when there was no answer at all. */
  readonly status: number;
  /** The body of an error response; `undefined` when the request succeeded. */
  readonly errorBody: ErrorBody | undefined;
  readonly value: unknown;
}

export interface AskOptions {
  /**
   * Which of the handlers of `WorkController`.
   * @defaultValue 'promise'
   */
  readonly kind?: 'promise' | 'observable' | 'eager' | 'retried';
  readonly headers?: Record<string, string>;
  /** How long the client waits for its answer; without a limit by default. */
  readonly limitMs?: number;
}

/** An application over a pool of 5, its database, and the faulty wire between the two. */
export interface World {
  readonly faultDatabase: FaultDatabase;
  readonly proxy: WireProxy;
  readonly scenario: Scenario;
  readonly url: string;
  readonly orm: MikroORM;
  readonly pool: () => PoolState;
  /** Sends one request. Never rejects. */
  readonly ask: (key: string, options?: AskOptions) => Promise<Answer>;
  /** Ends the application as it ends by itself: its own hooks, and the pool. May never return. */
  readonly closeApp: () => Promise<void>;
  /** Ends the application and the wire. */
  readonly close: () => Promise<void>;
}

/** A world with the library. */
export interface LibraryWorld extends World, LibraryApp {
  readonly pool: TestApp['pool'];
  readonly close: () => Promise<void>;
}

// Only what a fault is about gets a small limit, so that nothing else hits one on two slow cores.
const LIMITS: Limits = {
  acquireTimeoutMs: 15_000,
  drainTimeoutMs: 300,
  endTimeoutMs: 5_000,
  transactionTimeoutMs: 10_000,
};

/** Where the server is, and how it is reached. */
type Destination = Pick<FaultWire, 'driverOptions'> & { readonly clientUrl: string };

function ormOptions(to: Destination, { poolMax = POOL_SIZE, driverOptions = {} }: Limits): Options {
  return defineConfig({
    clientUrl: to.clientUrl,
    entities: [Note, Author, Book],
    ensureDatabase: false,
    pool: { min: 0, max: poolMax },
    driverOptions: { ...to.driverOptions, ...driverOptions },
  });
}

function destinationOf({ proxy, driverOptions }: FaultWire): Destination {
  return { clientUrl: proxy.url, driverOptions };
}

/** An application with the library, on any server. */
export interface LibraryApp extends TestApp {
  readonly scenario: Scenario;
  readonly logger: LogRecorder;
  /** Sends one request. Never rejects. */
  readonly ask: (key: string, options?: AskOptions) => Promise<Answer>;
}

/** Starts an application with the library. */
export async function startLibraryApp(
  to: Destination,
  limits: Limits = {},
  options: Partial<TestAppOptions> = {},
): Promise<LibraryApp> {
  const logger = new LogRecorder();
  const { poolMax: _max, driverOptions: _driver, ...others } = { ...LIMITS, ...limits };
  const app = await startApp({
    shutdownTimeoutMs: 2_000,
    hookTimeoutMs: 300,
    ...options,
    connections: options.connections ?? [{ ...ormOptions(to, limits), ...others }],
    controllers: [WorkController, ...(options.controllers ?? [])],
    providers: [
      Scenario,
      ScenarioGuard,
      {
        provide: UnitOfWork,
        inject: [getSessionToken()],
        useFactory: (session: EntityManager) => new LibraryUnitOfWork(session),
      },
      ...(options.providers ?? []),
    ],
    configure: (nest) => {
      nest.useLogger(logger);
      nest.useGlobalFilters(new ErrorBodyFilter(nest.get(HttpAdapterHost)));
    },
  });
  return {
    ...app,
    logger,
    scenario: app.app.get(Scenario),
    ask: (key, asked) => ask(app.url, key, asked),
  };
}

/** Starts an application with the library, and the faulty wire to its database. */
export async function startLibraryWorld(
  faultDatabase: FaultDatabase,
  limits: Limits = {},
  options: Partial<TestAppOptions> = {},
): Promise<LibraryWorld> {
  const wire = await startWire(faultDatabase);
  const { proxy } = wire;
  const app = await startLibraryApp(destinationOf(wire), limits, options);
  return {
    ...app,
    faultDatabase,
    proxy,
    orm: app.connection().orm,
    closeApp: () => app.close(),
    close: async () => {
      await app.close();
      await proxy.stop();
    },
  };
}

@Module({})
class PlainModule {}

/** Starts an application without the library, as MikroORM's documentation has it. */
export async function startPlainWorld(
  faultDatabase: FaultDatabase,
  settings: PlainSettings,
  limits: Limits = {},
  adapter: ExpressAdapter | FastifyAdapter = new ExpressAdapter(),
): Promise<World> {
  const wire = await startWire(faultDatabase);
  const { proxy } = wire;
  const unit = await PlainUnitOfWork.open(ormOptions(destinationOf(wire), limits), settings);
  const app: INestApplication = await NestFactory.create(
    {
      module: PlainModule,
      controllers: [WorkController],
      providers: [Scenario, ScenarioGuard, { provide: UnitOfWork, useValue: unit }],
    },
    adapter as never,
    { logger: false, forceCloseConnections: true },
  );
  app.useGlobalFilters(new ErrorBodyFilter(app.get(HttpAdapterHost)));
  app.use((_request: unknown, _response: unknown, next: () => void) => unit.fork(next));
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const pool = await (
    unit.orm.driver.getConnection() as unknown as PostgreSqlConnection
  ).getNativeClient();
  const closeApp = async (): Promise<void> => {
    await app.close();
    await unit.orm.close(true);
  };
  return {
    faultDatabase,
    proxy,
    scenario: app.get(Scenario),
    url,
    orm: unit.orm,
    pool: () => ({
      size: pool.totalCount,
      checkedOut: pool.totalCount - pool.idleCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
    }),
    ask: (key, asked) => ask(url, key, asked),
    closeApp,
    close: async () => {
      await closeApp();
      await proxy.stop();
    },
  };
}

async function ask(
  url: string,
  key: string,
  { kind = 'promise', headers = {}, limitMs }: AskOptions = {},
): Promise<Answer> {
  const signal = limitMs === undefined ? null : AbortSignal.timeout(limitMs);
  try {
    const response = await fetch(`${url}/${kind}/${key}`, { headers, signal });
    const body = (await response.json()) as ErrorBody & { value?: unknown };
    return response.ok
      ? { key, status: response.status, value: body.value, errorBody: undefined }
      : { key, status: response.status, value: undefined, errorBody: body };
  } catch (error) {
    return noAnswer(key, error as Error);
  }
}

/** What a client got whose request ended without a response. */
export function noAnswer(key: string, { message, cause }: Error): Answer {
  const error = 'NoAnswer';
  return {
    key,
    status: 0,
    value: undefined,
    errorBody: { error, origin: error, code: undefined, message, cause: String(cause) },
  };
}
