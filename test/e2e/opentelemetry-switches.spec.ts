import { context, diag, DiagLogLevel, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  AlwaysOffSampler,
  ParentBasedSampler,
  SamplingDecision,
  type Sampler,
} from '@opentelemetry/sdk-trace';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { DbContextInstrumentation, hideValues } from 'nestjs-db-context/opentelemetry';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import {
  instrumentPg,
  manageContexts,
  recordSpans,
  within,
  type SpanRecorder,
} from '../support/span-recorder.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const SECRET = 'a secret of the client';
const READ = [
  'TRANSACTION (committed, statements 1)',
  '  pg.query:BEGIN;SELECT',
  '  pg.query:COMMIT',
];

describe('O1: the instrumentation of OpenTelemetry', () => {
  let database: TestDatabase;
  let app: TestApp;
  let recorder: SpanRecorder;
  const undo: (() => void)[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({ connections: [noteConnection(database.url)] });
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });
  beforeEach(async () => {
    await database.query('truncate note');
    recorder = recordSpans();
    undo.push(manageContexts(), () => recorder.stop());
  });
  afterEach(() => undo.splice(0).forEach((each) => each()));

  const read = (): Promise<unknown> => app.dbContext.run(() => app.session().find(Note, {}));
  const withPg = (config?: Parameters<typeof instrumentPg>[1]): void =>
    void undo.push(instrumentPg(recorder.provider, config));
  const on = (provider = recorder.provider): DbContextInstrumentation => {
    const instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(provider);
    undo.push(() => instrumentation.disable());
    return instrumentation;
  };

  it('says what the conventions ask for', async () => {
    on();
    await read();
    const [span] = recorder.spans();
    const { port, hostname } = new URL(database.url);
    expect(span).toMatchObject({
      name: `TRANSACTION ${database.name}`,
      kind: 2,
      instrumentationScope: { name: 'nestjs-db-context' },
      attributes: {
        'db.system.name': 'postgresql',
        'db.namespace': database.name,
        'db.operation.name': 'TRANSACTION',
        'server.address': hostname,
        'server.port': Number(port),
        'db.client.connection.pool.name': 'default',
        'db_context.outcome': 'committed',
        'db_context.origin': 'dbContext.run()',
        'db_context.statements': 1,
        'db_context.read_only': false,
        'db_context.wait_time': expect.any(Number),
        'db_context.server_process_id': expect.any(Number),
      },
    });
  });

  it('makes the waits for a connection children of the transaction', async () => {
    on();
    withPg({ ignoreConnectSpans: false });
    const fresh = await startApp({ connections: [noteConnection(database.url)] });
    await within(recorder.tracer, 'a job', () =>
      fresh.dbContext.run(() => fresh.session().find(Note, {})),
    );
    await fresh.close();
    expect(recorder.tree()).toEqual([
      'a job',
      '  TRANSACTION (committed, statements 1)',
      '    pg-pool.connect',
      '      pg.connect',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:COMMIT',
    ]);
  });

  it('does nothing, and breaks nothing, without a provider, and writes once one is registered', async () => {
    withPg();
    const instrumentation = new DbContextInstrumentation();
    undo.push(() => instrumentation.disable());
    await read();
    expect(recorder.tree()).toEqual(['pg.query:BEGIN;SELECT', 'pg.query:COMMIT']);
    recorder.reset();
    trace.setGlobalTracerProvider(recorder.provider);
    await read();
    expect(recorder.tree()).toEqual(READ);
  });

  it('writes to the provider that the API has now, through its replacements', async () => {
    const next = recordSpans();
    undo.push(() => next.stop());
    // As it is on its own, and as registerInstrumentations() does without a provider.
    const instrumentations = [new DbContextInstrumentation(), new DbContextInstrumentation()];
    instrumentations[1]!.setTracerProvider(trace.getTracerProvider());
    undo.push(() => instrumentations.forEach((each) => each.disable()));
    trace.setGlobalTracerProvider(recorder.provider);
    await read();
    expect(recorder.tree()).toEqual([READ[0]]);
    trace.disable();
    await expect(read()).resolves.toEqual([]);
    expect(recorder.tree()).toEqual([READ[0]]);
    trace.setGlobalTracerProvider(next.provider);
    await app.dbContext.run(async () => {
      await app.session().find(Note, {});
      // A span ends where it has begun.
      trace.disable();
      trace.setGlobalTracerProvider(recorder.provider);
    });
    expect([recorder.tree(), next.tree()]).toEqual([[READ[0]], [READ[0]]]);
    await read();
    expect([recorder.tree(), next.tree()]).toEqual([[READ[0], READ[0]], [READ[0]]]);
  });

  it('is one of registerInstrumentations()', async () => {
    withPg();
    undo.push(
      registerInstrumentations({
        instrumentations: [new DbContextInstrumentation({ enabled: false })],
        tracerProvider: recorder.provider,
      }),
    );
    await read();
    expect(recorder.tree()).toEqual(READ);
  });

  it('writes once where it is switched on twice, until both are off', async () => {
    withPg();
    const [first, second] = [on(), on()];
    first.enable();
    await read();
    expect(recorder.tree()).toEqual(READ);
    recorder.reset();
    first.disable();
    first.disable();
    await read();
    expect(recorder.tree()).toEqual(READ);
    recorder.reset();
    second.disable();
    await read();
    expect(recorder.tree()).toEqual(['pg.query:BEGIN;SELECT', 'pg.query:COMMIT']);
  });

  it('writes to two providers', async () => {
    const other = recordSpans();
    on();
    on(other.provider);
    await read();
    expect([recorder.tree(), other.tree()]).toEqual([[READ[0]], [READ[0]]]);
    other.stop();
  });

  it('is that of two applications of a process', async () => {
    on();
    const second = await startApp({ connections: [noteConnection(database.url)] });
    await Promise.all([read(), second.dbContext.run(() => second.session().find(Note, {}))]);
    await second.close();
    await read();
    expect(recorder.tree()).toEqual([READ[0], READ[0], READ[0]]);
  });

  it('ends spans that are open as it is switched off, and leaves their transactions alone', async () => {
    const instrumentation = on();
    const isRead = deferred();
    const mayEnd = deferred();
    const work = app.dbContext.run(async () => {
      await app.session().insert(Note, { text: 'kept' });
      isRead.resolve();
      await mayEnd.promise;
      return app.session().find(Note, {});
    });
    await isRead.promise;
    instrumentation.disable();
    expect(recorder.tree()).toEqual(['TRANSACTION']);
    mayEnd.resolve();
    await expect(work).resolves.toHaveLength(1);
    expect(recorder.spans()).toHaveLength(1);
  });

  it('stands the end of the provider in the middle of a transaction', async () => {
    on();
    await app.dbContext.run(async () => {
      await app.session().insert(Note, { text: 'kept' });
      await recorder.provider.shutdown();
    });
    await expect(database.query('select text from note')).resolves.toEqual([{ text: 'kept' }]);
  });

  it('stands a sampler that throws, and says so', async () => {
    const errors: unknown[][] = [];
    const log = (): void => undefined;
    diag.setLogger(
      {
        error: (...args) => void errors.push(args),
        warn: log,
        info: log,
        debug: log,
        verbose: log,
      },
      DiagLogLevel.ERROR,
    );
    undo.push(() => diag.disable());
    const broken = recordSpans({
      sampler: {
        shouldSample: () => {
          throw new Error('broken');
        },
        toString: () => 'broken',
      },
    });
    on(broken.provider);
    await expect(read()).resolves.toEqual([]);
    expect(errors.flat().map(String).join()).toContain('broken');
    broken.stop();
  });

  it('hands the decision of a sampler on to statements, also where it is no', async () => {
    const off = recordSpans({ sampler: new ParentBasedSampler({ root: new AlwaysOffSampler() }) });
    on(off.provider);
    undo.push(instrumentPg(off.provider));
    await within(off.tracer, 'a job', read);
    await read();
    expect(off.tree()).toEqual([]);
    off.stop();
  });

  it('gives a sampler what it decides by', async () => {
    const seen: object[] = [];
    const sampler: Sampler = {
      shouldSample: (_context, _id, _name, _kind, attributes) => {
        seen.push(attributes);
        return { decision: SamplingDecision.RECORD_AND_SAMPLED };
      },
      toString: () => 'seen',
    };
    const sampled = recordSpans({ sampler });
    on(sampled.provider);
    await read();
    expect(seen).toEqual([expect.objectContaining({ 'db.namespace': database.name })]);
    sampled.stop();
  });

  it('makes a span of a read that is a transaction by itself', async () => {
    on();
    withPg();
    const early = await startApp({
      connections: [noteConnection(database.url, { transaction: { begin: 'first-write' } })],
    });
    const readEarly = (): Promise<unknown> =>
      early.dbContext.run(() => early.session().find(Note, {}));
    await readEarly();
    recorder.reset();
    await readEarly();
    await early.close();
    expect(recorder.tree()).toEqual(['TRANSACTION (committed, statements 1)', '  pg.query:BEGIN']);
  });

  it('leaves the span that is current in the code around a statement', async () => {
    on();
    const seen = await within(recorder.tracer, 'a job', async () => {
      const before = trace.getActiveSpan();
      await read();
      return [before, trace.getActiveSpan()];
    });
    expect(seen[0]).toBe(seen[1]);
    expect(trace.getSpan(context.active())).toBeUndefined();
  });

  describe('shows no value', () => {
    /** What fails with the secret in it, in each way. */
    const failing: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['a parameter', () => app.session().find(Note, { text: SECRET })],
      ['a value that the server quotes', () => app.session().execute(`select int '${SECRET}'`)],
      ['a syntax error', () => app.session().execute(`select "${SECRET} from`)],
      [
        'a duplicate',
        () =>
          app
            .session()
            .insert(Note, { text: SECRET })
            .then(() => app.session().insert(Note, { text: SECRET })),
      ],
      [
        'a message of a function',
        () => app.session().execute(`do $$ begin raise exception '${SECRET}'; end $$`),
      ],
      [
        'an error of the application',
        async () => {
          await app.session().find(Note, {});
          throw new Error(SECRET);
        },
      ],
      [
        'a hook that vetoes',
        async () => {
          await app.session().find(Note, {});
          app.dbContext.beforeCommit(() => {
            throw Object.assign(new Error(SECRET), { code: SECRET });
          });
        },
      ],
      [
        'an entity that cannot be written',
        async () => {
          await app.session().find(Note, {});
          app.session().persist(Object.assign(new Note(SECRET), { text: undefined, id: SECRET }));
        },
      ],
    ];

    it.each(failing)('of %s', async (_what, work) => {
      on();
      withPg({ requestHook: hideValues });
      const swallowed = app.dbContext.run(() => work().catch(() => undefined));
      await swallowed.catch(() => undefined);
      await app.dbContext.run(() => work()).catch(() => undefined);
      const shown = recorder.spans().map(({ name, attributes, events, status }) => ({
        name,
        attributes,
        events,
        status,
      }));
      expect(shown.length).toBeGreaterThan(0);
      expect(JSON.stringify(shown)).not.toContain(SECRET);
    });

    it('but has the message of an error where that is asked for, without what the server quotes', async () => {
      const instrumentation = new DbContextInstrumentation({ errorMessages: true });
      instrumentation.setTracerProvider(recorder.provider);
      undo.push(() => instrumentation.disable());
      const work = app.dbContext.run(() => app.session().execute(`select int '${SECRET}'`));
      await expect(work).rejects.toMatchObject({ code: '22P02' });
      const [span] = recorder.spans();
      expect(span!.status.code).toBe(SpanStatusCode.ERROR);
      expect(span!.status.message).toContain('invalid input syntax for type integer: "?"');
      expect(JSON.stringify([span!.attributes, span!.events, span!.status])).not.toContain(SECRET);
    });

    it('but pg’s instrumentation does by itself, where nobody tells it otherwise', async () => {
      withPg();
      await app.dbContext.run(() => app.session().find(Note, { text: SECRET }));
      expect(recorder.spans()[0]!.attributes['db.query.text']).toContain(SECRET);
    });
  });
});
