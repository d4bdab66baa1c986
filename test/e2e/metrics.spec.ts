import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Param } from '@nestjs/common';
import { metrics } from '@opentelemetry/api';
import { Client } from 'pg';
import { InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import { Registry } from 'prom-client';

import { METRICS, type MetricName } from '../../lib/observability/metrics.js';
import { labelName, metricName } from '../../lib/prometheus/names.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { recordMetrics, type MetricRecorder } from '../support/metric-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const REQUESTS = 100;
const POOL = 10;
const BARRIER = 4711;
const SECRET = 'a secret of the client';
let failures = 0;

@Controller()
class HeldController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('held/:id')
  async held(@Param('id') id: string): Promise<void> {
    await this.session.execute(`select pg_advisory_xact_lock_shared(${BARRIER})`);
    await this.session.find(Note, { text: `${SECRET} ${id}` });
  }

  @Get('refused/:id')
  async refused(@Param('id') id: string): Promise<void> {
    await this.session.insert(Note, { text: `${SECRET} ${id}` });
    await this.session.execute(`select int '${id}'`);
  }

  @Get('retried')
  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 0 })
  async retried(): Promise<void> {
    const code = failures++ === 0 ? '40001' : '00000';
    await this.session.execute(
      `do $$ begin if '${code}' <> '00000' then raise exception 'again' using errcode = '${code}'; end if; end $$`,
    );
  }
}

/** What Prometheus would be given, under the names of OpenTelemetry. */
async function readRegistry(register: Registry): Promise<Record<string, number>> {
  const series: Record<string, number> = {};
  const names = Object.keys(METRICS) as MetricName[];
  for (const each of await register.getMetricsAsJSON()) {
    const name = names.find((known) => metricName(known) === each.name)!;
    const { labels, kind } = METRICS[name];
    for (const { value, labels: given, ...more } of each.values) {
      const { metricName: part } = more as { metricName?: string };
      if (kind !== 'histogram' || part?.endsWith('_count') === true) {
        const shown = labels
          .filter((label) => labelName(label) in given)
          .map((label) => `${label.split(/[._]/).at(-1)}=${given[labelName(label)]}`)
          .toSorted();
        series[`${name}{${shown.join(',')}}`] = value;
      }
    }
  }
  return series;
}

describe.each<AdapterName>(['express', 'fastify'])('O1: the metrics over %s', (adapter) => {
  let database: TestDatabase;
  let app: TestApp;
  let recorder: MetricRecorder;
  let register: Registry;
  let instrumentation: DbContextInstrumentation;
  let stopCollecting: () => void;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    recorder = recordMetrics();
    register = new Registry();
    instrumentation = new DbContextInstrumentation();
    instrumentation.setMeterProvider(recorder.provider);
    stopCollecting = collectDbContextMetrics({ register });
    app = await startApp({
      adapter,
      connections: [
        noteConnection(database.url, {
          poolMax: POOL,
          applicationName: 'metrics',
          resetOnRelease: 'never',
        }),
      ],
      controllers: [HeldController],
    });
  });
  afterAll(async () => {
    instrumentation?.disable();
    stopCollecting?.();
    await recorder?.stop();
    await app?.close();
    await database?.drop();
  });

  /** Both must say the same. */
  const read = async (): Promise<Record<string, number>> => {
    const [first, second] = [await recorder.read(), await readRegistry(register)];
    const plain = [withoutZeros(first), withoutZeros(second)];
    // It goes on between the two.
    plain.forEach((each) => delete each['db_context.oldest_transaction.age{name=default}']);
    expect(plain[1]).toEqual(plain[0]);
    return first;
  };

  it('agree with pg_stat_activity and the counters of the pool, with 100 requests at once', async () => {
    const barrier = new Client({ connectionString: database.url });
    await barrier.connect();
    await barrier.query(`select pg_advisory_lock(${BARRIER})`);
    const answers = Array.from({ length: REQUESTS }, (_, id) => app.fetch(`/held/${id}`));
    await waitFor(
      async () => app.pool().waiting === REQUESTS - POOL && (await waitingForLock()) === POOL,
      { what: 'the requests to be held' },
    );

    const held = await read();
    expect(held).toMatchObject({
      'db.client.connection.count{name=default,state=used}': await connections(),
      'db.client.connection.count{name=default,state=idle}': app.pool().idle,
      'db.client.connection.max{name=default}': POOL,
      'db.client.connection.limit{name=default}': POOL,
      'db.client.connection.pending_requests{name=default}': app.pool().waiting,
      'db_context.active_transactions{name=default}': REQUESTS,
      'db_context.active_contexts{}': REQUESTS,
      'db.client.connection.wait_time{name=default}': POOL,
    });
    expect(held['db.client.connection.count{name=default,state=used}']).toBe(POOL);
    expect(held['db_context.oldest_transaction.age{name=default}']).toBeGreaterThan(0);
    expect(held['db_context.transactions{name=default,outcome=committed}']).toBeUndefined();

    await barrier.query(`select pg_advisory_unlock(${BARRIER})`);
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(
      Array.from({ length: REQUESTS }, () => 200),
    );
    await barrier.end();

    expect(await read()).toMatchObject({
      'db.client.connection.count{name=default,state=used}': 0,
      'db.client.connection.count{name=default,state=idle}': await connections(),
      'db.client.connection.pending_requests{name=default}': 0,
      'db.client.connection.wait_time{name=default}': REQUESTS,
      'db.client.connection.use_time{name=default}': REQUESTS,
      'db_context.transactions{name=default,outcome=committed}': REQUESTS,
      'db_context.transaction.duration{name=default,outcome=committed}': REQUESTS,
      'db_context.active_transactions{name=default}': 0,
      'db_context.oldest_transaction.age{name=default}': 0,
      'db_context.active_contexts{}': 0,
    });
  });

  it('have no series for each id, and no value of a parameter', async () => {
    const before = Object.keys(await read()).length;
    const answers = Array.from({ length: REQUESTS }, (_, id) => app.fetch(`/refused/no-${id}`));
    await Promise.all(answers);
    const after = await read();
    expect(after['db_context.transactions{name=default,outcome=rolled-back,type=22P02}']).toBe(
      REQUESTS,
    );
    // One of transactions by that error, one of their durations.
    expect(Object.keys(after).length - before).toBe(2);
    const text = JSON.stringify(after) + (await register.metrics());
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain('no-1');
    expect(text).not.toContain('select');
  });

  it('count retries, timeouts and pool deadlocks', async () => {
    failures = 0;
    expect((await app.fetch('/retried')).status).toBe(200);
    expect((await read())['db_context.retries{type=40001}']).toBe(1);

    const small = await startApp({
      connections: [
        noteConnection(database.url, {
          name: 'small',
          poolMax: 1,
          acquireTimeoutMs: 200,
          deadlockTimeoutMs: 20,
        }),
      ],
    });
    const find = (): Promise<unknown> => small.session('small').find(Note, {});
    const isHeld = deferred();
    const mayEnd = deferred();
    const holder = small.dbContext.run(async () => {
      await find();
      isHeld.resolve();
      await mayEnd.promise;
    });
    await isHeld.promise;
    await expect(small.dbContext.run(find)).rejects.toMatchObject({ code: 'ACQUIRE_TIMEOUT' });
    mayEnd.resolve();
    await holder;
    const deadlocked = small.dbContext.run(async () => {
      await find();
      await small.dbContext.runInNewContext(find);
    });
    await expect(deadlocked).rejects.toMatchObject({ code: 'POOL_DEADLOCK' });
    expect(await read()).toMatchObject({
      'db.client.connection.timeouts{name=small}': 1,
      'db_context.pool_deadlocks{name=small}': 1,
      'db_context.transactions{name=small,outcome=rolled-back,type=ACQUIRE_TIMEOUT}': 1,
      'db_context.active_transactions{name=small}': 0,
    });
    await small.close();
  });

  const connections = async (): Promise<number> => {
    const [row] = await database.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity where application_name = 'metrics'`,
    );
    return row!.count;
  };
  const waitingForLock = async (): Promise<number> => {
    const [row] = await database.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity where application_name = 'metrics'
         and wait_event = 'advisory' and state = 'active'`,
    );
    return row!.count;
  };
});

/** A counter that has not counted is a zero for Prometheus, and nothing for OpenTelemetry. */
function withoutZeros(series: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(series).filter(([, value]) => value !== 0));
}

describe('O1: metrics of Prometheus', () => {
  it('are made once for a registry, and removed with the last that asks for them', async () => {
    const register = new Registry();
    const stops = [collectDbContextMetrics({ register }), collectDbContextMetrics({ register })];
    stops[0]!();
    stops[0]!();
    expect(await register.metrics()).toContain('db_context_active_contexts 0');
    stops[1]!();
    expect(await register.metrics()).toBe('\n');
    const again = collectDbContextMetrics({ register });
    expect(register.getMetricsAsArray()).toHaveLength(Object.keys(METRICS).length);
    again();
  });

  it('do not take the place of another metric', async () => {
    const register = new Registry();
    collectDbContextMetrics({ register })();
    expect(register.getMetricsAsArray()).toEqual([]);
  });
});

describe('O1: metrics of a provider that is registered later', () => {
  it('are written from then on, also twice asked for once', async () => {
    const database = await createTestDatabase();
    const app = await startApp({ connections: [noteConnection(database.url)] });
    const instrumentations = [new DbContextInstrumentation(), new DbContextInstrumentation()];
    instrumentations[1]!.setMeterProvider(metrics.getMeterProvider());
    const recorder = recordMetrics();
    const work = (): Promise<unknown> => app.dbContext.run(() => app.session().execute('select 1'));
    try {
      await work();
      metrics.setGlobalMeterProvider(recorder.provider);
      await work();
      await work();
      expect(await recorder.read()).toMatchObject({
        'db_context.transactions{name=default,outcome=committed}': 2,
        'db.client.connection.max{name=default}': 5,
      });
    } finally {
      instrumentations.forEach((each) => each.disable());
      metrics.disable();
      await recorder.stop();
      await app.close();
      await database.drop();
    }
  });
});
