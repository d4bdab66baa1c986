import type { AddressInfo } from 'node:net';

import type { MikroORM } from '@mikro-orm/core';
import type { PostgreSqlConnection } from '@mikro-orm/postgresql';
import {
  Controller,
  Get,
  Module,
  Param,
  type DynamicModule,
  type INestApplication,
} from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { defer, type Observable } from 'rxjs';

import { WireProxy } from '../support/wire-proxy.js';
import { ErrorBodyFilter } from './error-body.filter.js';
import type { FaultDatabase } from './fault-database.js';
import type { Setup } from './setup.js';
import {
  LIBRARY_TOKENS,
  libraryModules,
  librarySide,
  PlainSide,
  Side,
  type SideName,
} from './sides.js';
import { Scenario, Work } from './work.js';

/** What a client got. */
export interface Answer {
  readonly key: string;
  /** `undefined` when there was none within the limit. */
  readonly status: number | undefined;
  /** Class of the error that it was told of. */
  readonly error: string | undefined;
  readonly value: unknown;
}

/** One of the two applications, with the faulty wire to its database. */
export interface World {
  readonly side: SideName;
  readonly faultDatabase: FaultDatabase;
  readonly scenario: Scenario;
  readonly proxy: WireProxy;
  readonly url: string;
  readonly orm: MikroORM;
  /** Connections that are checked out. */
  checkedOut(): number;
  waiting(): number;
  ask(key: string, limitMs?: number): Promise<Answer>;
  /** As an application ends: its own hooks, and the pool. May never return. */
  close(): Promise<void>;
}

/** The one controller of both applications. */
@Controller()
class WorkController {
  constructor(
    private readonly side: Side,
    private readonly scenario: Scenario,
  ) {}

  @Get('promise/:key')
  async promise(@Param('key') key: string): Promise<unknown> {
    const run = (em: Work['em']): Promise<unknown> =>
      this.scenario.handler(new Work(key, em, this.scenario));
    return { value: await this.side.run(key, run) };
  }

  @Get('observable/:key')
  observable(@Param('key') key: string): Observable<unknown> {
    return this.side.intercept((em) =>
      defer(async () => ({ value: await this.scenario.handler(new Work(key, em, this.scenario)) })),
    );
  }
}

@Module({})
class WorldModule {}

const WATCHDOG_MS = 6_000;

/** Starts the application of one side on a free port. */
export async function startWorld(
  faultDatabase: FaultDatabase,
  setup: Setup,
  side: SideName,
): Promise<World> {
  const proxy = await WireProxy.start(faultDatabase.url);
  const scenario = new Scenario();
  const plain = side === 'plain' ? await PlainSide.open(proxy.url, setup) : undefined;
  const app = await NestFactory.create(moduleOf(scenario, plain, proxy.url, setup), {
    logger: false,
  });
  configure(app, scenario, plain);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const { orm } = app.get(Side);
  const pool = await (
    orm.driver.getConnection() as unknown as PostgreSqlConnection
  ).getNativeClient();
  return {
    side,
    faultDatabase,
    scenario,
    proxy,
    url,
    orm,
    checkedOut: () => pool.totalCount - pool.idleCount,
    waiting: () => pool.waitingCount,
    ask: (key, limitMs = WATCHDOG_MS) =>
      ask(`${url}/${setup.unit === 'interceptor' ? 'observable' : 'promise'}/${key}`, key, limitMs),
    close: async () => {
      app.getHttpServer().closeAllConnections();
      await app.close();
      await plain?.orm.close(true);
    },
  };
}

function moduleOf(
  scenario: Scenario,
  plain: PlainSide | undefined,
  url: string,
  setup: Setup,
): DynamicModule {
  const provider =
    plain === undefined
      ? { provide: Side, inject: LIBRARY_TOKENS, useFactory: librarySide }
      : { provide: Side, useValue: plain };
  return {
    module: WorldModule,
    imports: plain === undefined ? libraryModules(url, setup) : [],
    controllers: [WorkController],
    providers: [{ provide: Scenario, useValue: scenario }, provider],
  };
}

function configure(app: INestApplication, scenario: Scenario, plain: PlainSide | undefined): void {
  app.useGlobalFilters(new ErrorBodyFilter(app.get(HttpAdapterHost)));
  app.use(
    (
      request: { url: string },
      response: { once(event: 'close', listener: () => void): unknown },
      next: () => void,
    ) => {
      const key = request.url.split('/').at(-1)!;
      response.once('close', () => scenario.point(`${key} over`).resolve());
      if (plain === undefined) {
        next();
      } else {
        plain.fork(next);
      }
    },
  );
}

async function ask(url: string, key: string, limitMs: number): Promise<Answer> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(limitMs) });
    const body = (await response.json()) as { error?: string; value?: unknown };
    return { key, status: response.status, error: body.error, value: body.value };
  } catch {
    return { key, status: undefined, error: undefined, value: undefined };
  }
}
