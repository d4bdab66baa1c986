import { setTimeout as sleep } from 'node:timers/promises';

import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import {
  InvalidOptionsError,
  type ConnectionHealth,
  type DbConnectionOptions,
} from 'nestjs-db-context';
import {
  DbContextHealthIndicator,
  type DbContextHealth,
  type DbContextPingCheckOptions,
} from 'nestjs-db-context/terminus';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import {
  noteConnection,
  startApp,
  type AdapterName,
  type TestApp,
  type TestAppOptions,
} from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const SECRET = 'hush-hush';

let demands: DbContextPingCheckOptions;

@Controller()
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicator: DbContextHealthIndicator,
  ) {}

  @Get('health')
  @HealthCheck()
  check() {
    return this.health.check([() => this.indicator.pingCheck('database', demands)]);
  }
}

let database: TestDatabase;
let proxy: WireProxy;
let app: TestApp | undefined;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

beforeEach(async () => {
  demands = {};
  proxy = await WireProxy.start(database.url);
});
afterEach(async () => {
  proxy.thaw();
  await app?.close();
  app = undefined;
  await proxy.stop();
});

async function start(
  options: Partial<TestAppOptions> = {},
  limits: Parameters<typeof noteConnection>[1] = {},
): Promise<TestApp> {
  app = await startApp({
    connections: [noteConnection(proxy.url, limits)],
    controllers: [HealthController],
    providers: [DbContextHealthIndicator],
    imports: [TerminusModule.forRoot({ logger: false })],
    ...options,
  });
  return app;
}

/** The answer of the endpoint, whose whole text must not hold a secret. */
async function look(): Promise<{
  readonly httpStatus: number;
  readonly database: DbContextHealth & { readonly status: string };
}> {
  const response = await app!.fetch('/health');
  const text = await response.text();
  expect(text).not.toContain(SECRET);
  const { details } = JSON.parse(text) as { details: { database: never } };
  return { httpStatus: response.status, database: details.database };
}

/** Takes all connections of the pool, and has `waiting` callers wait for one. */
async function exhaust(waiting: number): Promise<() => Promise<void>> {
  const gate = deferred();
  const size = await app!.connection().poolSize();
  let begun = 0;
  const run = (): Promise<void> =>
    app!.dbContext.run(async () => {
      await app!.session().execute('select 1');
      begun++;
      await gate.promise;
    });
  const all = Array.from({ length: size + waiting }, run);
  await waitFor(() => begun === size && app!.pool().waiting === waiting, {
    what: 'the pool to be exhausted',
  });
  return async () => {
    gate.resolve();
    await Promise.all(all);
  };
}

const isLeft = (): Promise<void> =>
  waitFor(() => proxy.openConnections === 0, { what: 'the connection of the check to be closed' });

describe.each<AdapterName>(['express', 'fastify'])('a health endpoint on %s', (adapter) => {
  it('L1: up, asked over a connection that is closed again; nothing connects before', async () => {
    const { connection } = await start({ adapter });
    expect(proxy.openConnections).toBe(0);
    expect(await look()).toEqual({
      httpStatus: 200,
      database: {
        status: 'up',
        isReachable: true,
        isPrimary: true,
        host: new URL(proxy.url).host,
        tookMs: expect.any(Number),
        pool: { size: 5, checkedOut: 0, idle: 0, waiting: 0 },
      },
    });
    await isLeft();
    expect(proxy.log).toHaveLength(1);
    // It was no connection of the pool, and the pool is as new.
    expect(connection().poolState()).toMatchObject({ checkedOut: 0, idle: 0 });
    await connection().connect();
  });

  it('503 with details while the database is down, and 200 when it is back', async () => {
    await start({ adapter });
    proxy.refuse = true;
    const { httpStatus, database: details } = await look();
    expect(httpStatus).toBe(503);
    expect(details).toMatchObject({
      status: 'down',
      isReachable: false,
      host: new URL(proxy.url).host,
      error: { code: 'ECONNRESET', message: expect.any(String) },
      message: expect.stringMatching(/cannot be reached: .+/),
    });
    expect(details).not.toHaveProperty('isPrimary');
    proxy.refuse = false;
    expect(await look()).toMatchObject({ httpStatus: 200, database: { status: 'up' } });
  });

  it('an exhausted pool is a reachable database with callers that wait', async () => {
    await start({ adapter }, { poolMax: 2 });
    const release = await exhaust(3);
    const pool = { size: 2, checkedOut: 2, idle: 0, waiting: 3 };
    demands = { maxWaiting: 3 };
    expect(await look()).toMatchObject({
      httpStatus: 200,
      database: { status: 'up', isReachable: true, pool },
    });
    demands = { maxWaiting: 2 };
    expect(await look()).toMatchObject({
      httpStatus: 503,
      database: {
        status: 'down',
        isReachable: true,
        pool,
        message: '3 callers wait for a connection, more than 2',
      },
    });
    await release();
    expect(await look()).toMatchObject({ httpStatus: 200 });
    expect(app!.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  it('F6: a half-open link is down within timeoutMs', async () => {
    await start({ adapter });
    demands = { timeoutMs: 200 };
    proxy.freeze();
    const startedAt = performance.now();
    const { httpStatus, database: details } = await look();
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(httpStatus).toBe(503);
    expect(details).toMatchObject({ isReachable: false, error: { code: 'ETIMEDOUT' } });
  });

  it('a connection that was never declared is no matter of health: 500', async () => {
    await start({ adapter });
    demands = { connection: 'adit' };
    const response = await app!.fetch('/health');
    expect(response.status).toBe(500);
    expect(proxy.openConnections).toBe(0);
  });
});

describe('check()', () => {
  const check = (timeoutMs = 2_000): Promise<ConnectionHealth> =>
    app!.connection().check({ timeoutMs });

  it('F1: 20 of each fault cost no slot, and leave no connection', async () => {
    await start();
    for (let turn = 0; turn < 20; turn++) {
      expect(await check()).toMatchObject({ isReachable: true });
      proxy.cutBefore(/pg_is_in_recovery/);
      expect(await check()).toMatchObject({ isReachable: false });
      proxy.refuse = true;
      expect(await check()).toMatchObject({ isReachable: false });
      proxy.refuse = false;
    }
    proxy.freeze();
    expect(await check(50)).toMatchObject({ isReachable: false });
    proxy.thaw();
    await isLeft();
    expect(app!.pool()).toEqual({ size: 5, checkedOut: 0, idle: 0, waiting: 0 });
    await app!.connection().connect();
  });

  it('a server that falls silent after the log-in is unreachable, and is left', async () => {
    await start();
    proxy.onStatement = () => proxy.freeze();
    expect(await check(200)).toMatchObject({
      isReachable: false,
      error: { code: 'ETIMEDOUT', message: 'no answer within 200 ms' },
    });
  });

  it('a port that nobody listens on, and a name that nobody has', async () => {
    await start();
    await app!.connection().changeHost('127.0.0.1:1');
    expect(await check()).toMatchObject({
      isReachable: false,
      host: '127.0.0.1:1',
      error: { code: 'ECONNREFUSED' },
    });
    await app!.connection().changeHost('no-such-host.invalid');
    const { host, error, tookMs } = await check(500);
    expect(host).toBe(`no-such-host.invalid:${new URL(proxy.url).port}`);
    // By how the machine resolves names; some ask for longer than this.
    expect(['ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT']).toContain(error?.code);
    expect(tookMs).toBeLessThan(1_000);
  });

  it('H1: goes where new sessions go, also while transactions are in flight on the old host', async () => {
    await start();
    const other = await WireProxy.start(database.url);
    try {
      const release = await exhaust(0);
      await app!.connection().changeHost(new URL(other.url).host);
      expect(await check()).toMatchObject({
        isReachable: true,
        host: new URL(other.url).host,
        pool: { size: 5, checkedOut: 0 },
      });
      const [changed, during] = await Promise.all([
        app!.connection().changeHost(new URL(proxy.url).host),
        check(),
      ]);
      expect(changed).toBeUndefined();
      expect(during).toMatchObject({ isReachable: true });
      await release();
    } finally {
      await app!.connection().changeHost(new URL(proxy.url).host);
      await other.stop();
    }
  });

  it('those who ask at once share one connection', async () => {
    await start();
    let most = 0;
    proxy.onStatement = () => {
      most = Math.max(most, proxy.openConnections);
    };
    const found = await Promise.all(Array.from({ length: 50 }, () => check()));
    expect(new Set(found).size).toBe(1);
    expect([most, proxy.log.length]).toEqual([1, 1]);
    await check();
    expect(proxy.log).toHaveLength(2);
  });

  it('a closed connection is unreachable, and stays closed', async () => {
    const { connection } = await start();
    await connection().connect();
    await connection().close();
    expect(await check()).toEqual({
      isReachable: false,
      host: new URL(proxy.url).host,
      tookMs: 0,
      error: { code: 'CONNECTION_CLOSED', message: expect.stringContaining('is closed') },
    });
    await isLeft();
  });

  it.each([0, -1, NaN, Infinity, '100'])('timeoutMs: %p is refused', async (timeoutMs) => {
    await start();
    await expect(check(timeoutMs as number)).rejects.toThrow(InvalidOptionsError);
  });
});

describe('secrets of a check', () => {
  const withOptions = (driverOptions: object): DbConnectionOptions =>
    ({ ...noteConnection(proxy.url), driverOptions }) as DbConnectionOptions;

  it('a password is not shown when the server refuses it', async () => {
    const role = `role_${database.name}`;
    await database.query(`create role ${role} login password 'another'`);
    try {
      await start({ connections: [withOptions({ user: role, password: SECRET })] });
      const { httpStatus, database: details } = await look();
      expect(httpStatus).toBe(503);
      expect(details.error?.code).toBe('28P01');
    } finally {
      await database.query(`drop role ${role}`);
    }
  });

  it('nor what a function says that should have given one', async () => {
    const password = (): never => {
      throw new Error(`no answer of https://me:${SECRET}@vault`);
    };
    await start({ connections: [withOptions({ password })] });
    const { database: details } = await look();
    expect(details.error?.message).toBe('no answer of https://***@vault');
  });

  it('nor in a message that quotes it', async () => {
    const password = async (): Promise<string> => Promise.resolve(SECRET);
    await start({ connections: [withOptions({ user: SECRET, password })] });
    const { database: details } = await look();
    expect(details.error?.message).toContain('"***"');
  });
});

it('H3: a check that nothing answers does not keep the application open', async () => {
  const { connection, close } = await start();
  proxy.freeze();
  const checking = connection().check({ timeoutMs: 500 });
  await Promise.race([close(), sleep(5_000, 'late', { ref: false })]).then((how) =>
    expect(how).toBeUndefined(),
  );
  app = undefined;
  expect(await checking).toMatchObject({ isReachable: false });
});
