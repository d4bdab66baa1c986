import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, StreamableFile } from '@nestjs/common';
import { Client } from 'pg';
import { DbContext, InjectSession, type DbContextOptions } from 'nestjs-db-context';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import { dbContextChannels, type TransactionEndEvent } from 'nestjs-db-context/telemetry';
import { Registry } from 'prom-client';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { manageContexts, recordSpans, type SpanRecorder } from '../support/span-recorder.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const BARRIER = 4712;
let mayGoOn = deferred();

@Controller()
class WorkController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('sleeps')
  async sleeps(): Promise<void> {
    await this.session.find(Note, {});
    await mayGoOn.promise;
  }

  @Get('runs')
  async runs(): Promise<void> {
    await this.session.execute(`select pg_advisory_xact_lock(${BARRIER})`);
  }

  @Get('waits')
  async waits(): Promise<void> {
    await this.session.find(Note, {});
  }

  @Get('streams')
  streams(): StreamableFile {
    const rows = this.dbContext.stream(async function* (session) {
      await session.find(Note, {});
      yield 'the first chunk';
      await mayGoOn.promise;
    });
    return new StreamableFile(rows);
  }

  @Get('queries')
  queries(): StreamableFile {
    const rows = this.dbContext.stream(async function* (session) {
      await session.find(Note, {});
      yield 'the first chunk';
      await session.execute(`select pg_advisory_xact_lock(${BARRIER})`);
    });
    return new StreamableFile(rows);
  }
}

describe('O1: what has ended a context is why its transaction was rolled back', () => {
  let database: TestDatabase;
  let barrier: Client;
  let recorder: SpanRecorder;
  let register: Registry;
  let ended: TransactionEndEvent[] = [];
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    barrier = new Client({ connectionString: database.url });
    await barrier.connect();
    await barrier.query(`select pg_advisory_lock(${BARRIER})`);
    recorder = recordSpans();
    register = new Registry();
    const instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(recorder.provider);
    const listener = (event: TransactionEndEvent): void => void ended.push(event);
    dbContextChannels.transactionEnd.subscribe(listener);
    stops.push(
      manageContexts(),
      collectDbContextMetrics({ register }),
      () => instrumentation.disable(),
      () => recorder.stop(),
      () => void dbContextChannels.transactionEnd.unsubscribe(listener),
    );
  });
  afterAll(async () => {
    stops.forEach((stop) => stop());
    await barrier?.end();
    await database?.drop();
  });
  beforeEach(() => {
    mayGoOn = deferred();
    ended = [];
    register.resetMetrics();
  });

  const start = async (
    adapter: AdapterName,
    options: Pick<DbContextOptions, 'contextTimeoutMs' | 'onDisconnect' | 'shutdownTimeoutMs'>,
  ): Promise<TestApp> => {
    const app = await startApp({
      adapter,
      connections: [noteConnection(database.url, { poolMax: 1, drainTimeoutMs: 100 })],
      controllers: [WorkController],
      ...options,
    });
    await app.dbContext.run(() => app.session().find(Note, {}));
    recorder.reset();
    ended = [];
    return app;
  };

  /** Sends a request, and waits until its transaction is where its path says. */
  const begin = async (app: TestApp, path: string, signal?: AbortSignal): Promise<void> => {
    const answer = app.fetch(path, { ...(signal !== undefined && { signal }) });
    if (path === '/streams') {
      await (await answer).body!.getReader().read();
      return;
    }
    // The client may be gone by then.
    answer.then((response) => response.text()).catch(() => undefined);
    await waitFor(() => isUnderWay(app, path), { what: `${path} to be under way` });
  };
  const isUnderWay = async (app: TestApp, path: string): Promise<boolean> => {
    if (path === '/waits') {
      return app.pool().waiting === 1;
    }
    if (path === '/sleeps') {
      return app.pool().checkedOut === 1;
    }
    const [row] = await database.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity
         where datname = current_database() and wait_event = 'advisory'`,
    );
    return row!.count === 1;
  };
  const seen = async (): Promise<object> => {
    await waitFor(() => ended.length === 1 && recorder.spans().length === 1, {
      what: 'the transaction to end',
    });
    const [{ outcome, endedBy, error }] = ended as [TransactionEndEvent];
    const [span] = recorder.spans();
    return {
      outcome,
      endedBy,
      code: error?.code,
      span: recorder.tree(),
      status: span!.attributes['db.response.status_code'],
      metric: (await register.metrics())
        .split('\n')
        .filter((line) => /^db_context_transactions_total.*rolled-back.* 1$/.test(line))
        .map((line) => /error_type="(\w+)"/.exec(line)?.[1]),
    };
  };
  const poolWait = (path: string): string[] =>
    path === '/waits' ? ['  * db_context.pool.wait'] : [];
  /** Has the only connection of the pool, so that a request waits for it. */
  const holding = async <T>(app: TestApp, path: string, work: () => Promise<T>): Promise<T> => {
    if (path !== '/waits') {
      return work();
    }
    const client = await (await app.connection().pool()).connect();
    try {
      return await work();
    } finally {
      client.release();
    }
  };

  describe.each<AdapterName>(['express', 'fastify'])('over %s', (adapter) => {
    let app: TestApp;

    beforeAll(async () => {
      app = await start(adapter, { onDisconnect: 'rollback' });
    });
    afterAll(() => app?.close());
    beforeEach(() => recorder.reset());
    afterEach(() => mayGoOn.resolve());

    it.each([
      ['/sleeps', 1],
      ['/runs', 1],
      ['/waits', 0],
      ['/streams', 1],
      ['/queries', 2],
    ])('the client that has left %s', async (path, statements) => {
      const leaving = new AbortController();
      const result = await holding(app, path, async () => {
        await begin(app, path, leaving.signal);
        leaving.abort();
        return seen();
      });
      const isStream = path === '/streams' || path === '/queries';
      expect(result).toEqual({
        outcome: 'rolled-back',
        endedBy: {
          code: 'CLIENT_GONE',
          what: isStream
            ? 'its reader went away before the end of the stream'
            : "the client went away (onDisconnect: 'rollback')",
        },
        code: undefined,
        span: [
          `TRANSACTION (rolled-back, statements ${statements})`,
          ...poolWait(path),
          '  * db_context.rollback CLIENT_GONE',
        ],
        status: undefined,
        metric: [undefined],
      });
    });
  });

  it.each([
    ['/sleeps', 1],
    ['/runs', 1],
    ['/waits', 0],
  ])('contextTimeoutMs of %s', async (path, statements) => {
    const app = await start('express', { contextTimeoutMs: 400 });
    try {
      const result = await holding(app, path, async () => {
        await begin(app, path);
        return seen();
      });
      expect(result).toEqual({
        outcome: 'rolled-back',
        endedBy: {
          code: 'CONTEXT_TIMEOUT',
          what: 'it was open for longer than contextTimeoutMs',
        },
        code: 'CONTEXT_TIMEOUT',
        span: [
          `TRANSACTION (rolled-back, statements ${statements}, error CONTEXT_TIMEOUT, failed)`,
          ...poolWait(path),
          '  * db_context.rollback CONTEXT_TIMEOUT CONTEXT_TIMEOUT',
        ],
        status: undefined,
        metric: ['CONTEXT_TIMEOUT'],
      });
    } finally {
      mayGoOn.resolve();
      await app.close();
    }
  });

  it('the shutdown that waits no longer for a statement', async () => {
    const app = await start('express', { shutdownTimeoutMs: 50 });
    await begin(app, '/runs');
    const closed = app.close();
    expect(await seen()).toMatchObject({
      endedBy: { code: 'SHUTTING_DOWN', what: 'the application shuts down' },
      code: 'SHUTTING_DOWN',
      metric: ['SHUTTING_DOWN'],
    });
    await closed;
  });
});
