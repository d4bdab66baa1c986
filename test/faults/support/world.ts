import { defineConfig } from '@mikro-orm/postgresql';
import { HttpAdapterHost } from '@nestjs/core';
import type { ConnectionLimits, ConnectionTransactionOptions } from 'nestjs-db-context';

import { Author, Book } from '../../support/library.entities.js';
import { LogRecorder } from '../../support/log-recorder.js';
import { Note } from '../../support/note.entity.js';
import { startApp, type TestApp, type TestAppOptions } from '../../support/test-app.js';
import { WireProxy } from '../../support/wire-proxy.js';
import type { FaultDatabase } from './fault-database.js';
import { Scenario, ScenarioGuard, type Handler } from './scenario.js';
import { ErrorBodyFilter, WorkController, type ErrorBody } from './work.controller.js';

/** How often each fault is to happen. */
export const TIMES = Number(process.env['DB_CONTEXT_FAULT_TIMES'] ?? 3);

/** Whether variants of one fault are run as well; `npm test` has no time for them. */
export const IS_FULL = TIMES >= 20;

export const POOL_SIZE = 5;

export type Limits = ConnectionLimits &
  ConnectionTransactionOptions & {
    readonly poolMax?: number;
    /** Of pg itself. */
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

/** An application with the faulty wire to its database. */
export interface FaultWorld extends TestApp {
  readonly faultDatabase: FaultDatabase;
  readonly proxy: WireProxy;
  readonly scenario: Scenario;
  readonly logger: LogRecorder;
  /** One request. */
  ask(key: string, kind?: string, headers?: Record<string, string>): Promise<Answer>;
}

// Only what a fault is about gets a small limit, so that nothing else hits one on two slow cores.
const LIMITS: Limits = {
  acquireTimeoutMs: 15_000,
  drainTimeoutMs: 300,
  endTimeoutMs: 5_000,
  transactionTimeoutMs: 10_000,
};

/** Starts an application over a pool of 5. */
export async function startFaultWorld(
  faultDatabase: FaultDatabase,
  limits: Limits = {},
  options: Partial<TestAppOptions> = {},
): Promise<FaultWorld> {
  const proxy = await WireProxy.start(faultDatabase.url);
  const logger = new LogRecorder();
  const { poolMax = POOL_SIZE, driverOptions = {}, ...others } = { ...LIMITS, ...limits };
  const app = await startApp({
    shutdownTimeoutMs: 2_000,
    hookTimeoutMs: 300,
    ...options,
    connections: options.connections ?? [
      {
        ...defineConfig({
          clientUrl: proxy.url,
          entities: [Note, Author, Book],
          pool: { min: 0, max: poolMax },
          driverOptions,
        }),
        ...others,
      },
    ],
    controllers: [WorkController, ...(options.controllers ?? [])],
    providers: [Scenario, ScenarioGuard, ...(options.providers ?? [])],
    configure: (nest) => {
      nest.useLogger(logger);
      nest.useGlobalFilters(new ErrorBodyFilter(nest.get(HttpAdapterHost)));
    },
  });
  return {
    ...app,
    faultDatabase,
    proxy,
    logger,
    scenario: app.app.get(Scenario),
    ask: (key, kind = 'promise', headers = {}) => ask(app, key, kind, headers),
    close: async () => {
      await app.close();
      await proxy.stop();
    },
  };
}

/** What each request of a healthy application does. */
export const ordinary: Handler = async (work) => {
  await work.look();
  await work.write('row');
};

async function ask(
  app: TestApp,
  key: string,
  kind: string,
  headers: Record<string, string>,
): Promise<Answer> {
  let response: Response;
  try {
    response = await app.fetch(`/${kind}/${key}`, { headers });
  } catch (error) {
    const { cause, message } = error as Error;
    return {
      key,
      status: 0,
      value: undefined,
      errorBody: { error: 'NoAnswer', code: undefined, message, cause: String(cause) },
    };
  }
  const body = (await response.json()) as ErrorBody & { value?: unknown };
  return response.ok
    ? { key, status: response.status, value: body.value, errorBody: undefined }
    : { key, status: response.status, value: undefined, errorBody: body };
}
