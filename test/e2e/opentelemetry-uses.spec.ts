import { DbContextInstrumentation, hideValues } from 'nestjs-db-context/opentelemetry';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import { Registry } from 'prom-client';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import {
  instrumentPg,
  manageContexts,
  recordSpans,
  within,
  type SpanRecorder,
} from '../support/span-recorder.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { readAhead, readInNone } from '../support/uses-of-connections.js';

describe('O1: the spans and metrics of what is in no transaction of a session', () => {
  let database: TestDatabase;
  let app: TestApp;
  let recorder: SpanRecorder;
  let register: Registry;
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    recorder = recordSpans();
    register = new Registry();
    const instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(recorder.provider);
    stops.push(
      manageContexts(),
      instrumentPg(recorder.provider, { requestHook: hideValues }),
      collectDbContextMetrics({ register, buckets: [1, 60] }),
      () => instrumentation.disable(),
      () => recorder.stop(),
    );
    app = await startApp({
      connections: [
        noteConnection(database.url, {
          poolMax: 1,
          acquireTimeoutMs: 300,
          deadlockTimeoutMs: 20,
          resetOnRelease: 'never',
        }),
      ],
    });
    await app.dbContext.run(() => readAhead(app));
  });
  afterAll(async () => {
    stops.forEach((stop) => stop());
    await app?.close();
    await database?.drop();
  });
  beforeEach(() => recorder.reset());

  const treeOf = async (work: () => Promise<unknown>): Promise<string[]> => {
    await within(recorder.tracer, 'a job', () => app.dbContext.run(work));
    return recorder.tree();
  };
  const metric = async (pattern: RegExp): Promise<string[]> =>
    (await register.metrics()).split('\n').filter((line) => pattern.test(line));
  const attributesOf = (name: string): object =>
    recorder.spans().find((span) => span.name.startsWith(name))!.attributes;

  it('of a read ahead of the first write have its wait and its process', async () => {
    expect(await treeOf(() => readAhead(app))).toEqual([
      'a job',
      '  TRANSACTION (committed, statements 1)',
      '    pg.query:BEGIN',
    ]);
    expect(attributesOf('TRANSACTION')).toMatchObject({
      'db_context.wait_time': expect.any(Number),
      'db_context.server_process_id': expect.any(Number),
      'db_context.read_only': true,
    });
  });

  it('of a statement in no transaction have its wait and its process', async () => {
    expect(await treeOf(() => readInNone(app))).toEqual([
      'a job',
      '  AUTOCOMMIT (statements 1)',
      '    pg.query:SELECT',
    ]);
    expect(attributesOf('AUTOCOMMIT')).toMatchObject({
      'db.operation.name': 'AUTOCOMMIT',
      'db_context.wait_time': expect.any(Number),
      'db_context.server_process_id': expect.any(Number),
    });
  });

  it('of waits that are given up say so, and nobody holds a negative number', async () => {
    const client = await (await app.connection().pool()).connect();
    try {
      const works = [readAhead, readInNone].map((work) =>
        expect(app.dbContext.run(() => work(app))).rejects.toMatchObject({
          code: 'ACQUIRE_TIMEOUT',
        }),
      );
      await waitFor(() => app.pool().waiting === 2, { what: 'both to wait' });
      expect(await metric(/^db_context_active_transactions\{/)).toEqual([
        'db_context_active_transactions{db_client_connection_pool_name="default"} 1',
      ]);
      await Promise.all(works);
    } finally {
      client.release();
    }
    const wait = ['  * db_context.pool.wait'];
    expect(recorder.tree()).toEqual([
      'AUTOCOMMIT (statements 0, error ACQUIRE_TIMEOUT, failed)',
      ...wait,
      'TRANSACTION (rolled-back, statements 0, error ACQUIRE_TIMEOUT, failed)',
      ...wait,
      '  * db_context.rollback ACQUIRE_TIMEOUT ACQUIRE_TIMEOUT',
    ]);
    expect(await metric(/transactions_total.*ACQUIRE_TIMEOUT.* 1$/)).toHaveLength(1);
    expect(await metric(/^db_context_active_transactions\{.* 0$/)).toHaveLength(1);
  });

  it('of queries on a lent client are children of the span that is current in its callback', async () => {
    const tree = await treeOf(() =>
      app.dbContext.withClient((client) =>
        recorder.tracer.startActiveSpan('own', async (span) => {
          await Promise.all([client.query('select 1'), client.query('select 2')]);
          span.end();
        }),
      ),
    );
    expect(tree).toEqual([
      'a job',
      '  TRANSACTION (committed, statements 2)',
      '    pg.query:BEGIN',
      '    own',
      '      pg.query:SELECT',
      '      pg.query:SELECT',
      '    pg.query:COMMIT',
    ]);
  });

  it('have no literal and no comment in the name of the span', async () => {
    await app.dbContext.run(async () => {
      await app.session().execute(`/*S3CR3T*/ select'S3CR3T'`);
      await app.session().execute(`values('S3CR3T')`);
    });
    const names = recorder.spans().map(({ name }) => name);
    expect(names.join()).not.toContain('S3CR3T');
    expect(names).toContain(`pg.query:VALUES ${database.name}`);
  });

  it('of a pool deadlock name what has opened the outermost context', async () => {
    const deadlocked = app.dbContext.run(async () => {
      await app.session().find(Note, {});
      await app.dbContext.runInNewContext(() => app.session().find(Note, {}));
    });
    await expect(deadlocked).rejects.toMatchObject({ code: 'POOL_DEADLOCK' });
    const span = recorder
      .spans()
      .find(({ attributes }) => attributes['error.type'] === 'POOL_DEADLOCK')!;
    expect(span.attributes).toMatchObject({
      'db_context.origin': 'runInNewContext()',
      'db_context.outer_origin': 'dbContext.run()',
    });
  });

  it('have a zero before the first event, the buckets that were asked for, and no closed pool', async () => {
    const other = await startApp({
      connections: [noteConnection(database.url, { name: 'other' })],
    });
    await other.dbContext.run(() => other.session('other').find(Note, {}));
    const zeros = await metric(/"other".* 0$/);
    for (const name of ['client_connection_timeouts', 'context_pool_deadlocks']) {
      expect(zeros).toContain(`db_${name}_total{db_client_connection_pool_name="other"} 0`);
    }
    expect(zeros.join()).toContain(
      'db_context_outcome="unknown",error_type="COMMIT_OUTCOME_UNKNOWN"',
    );
    expect(await metric(/^db_context_retries_total\{error_type="40001"\} 0$/)).toHaveLength(1);
    expect(await metric(/duration_seconds_bucket.*le="60".*"other"/)).toHaveLength(1);
    expect(await metric(/connection_max\{.*"other"\} 5$/)).toHaveLength(1);
    await other.close();
    expect(
      await metric(/^db_(client_connection_(max|limit|count)|context_active_tr\w+)\{.*"other"/),
    ).toEqual([]);
  });
});
