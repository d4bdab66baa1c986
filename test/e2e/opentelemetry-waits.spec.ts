import { SpanStatusCode } from '@opentelemetry/api';
import { DbContextInstrumentation, hideValues } from 'nestjs-db-context/opentelemetry';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { CLIENT_GONE } from '../../lib/transport/http-exchange.js';
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

/** Far longer than a test: what ends before it has not waited for the pool. */
const TIMEOUT_OF_POOL_MS = 60_000;

/** The same server by another name. */
const OTHER_NAME = 'localhost';

describe('O1: the span of a wait for a connection that is given up', () => {
  let database: TestDatabase;
  let app: TestApp;
  let recorder: SpanRecorder;
  let giveBack: (() => void) | undefined;
  const undo: (() => void)[] = [];

  beforeEach(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    recorder = recordSpans();
    const instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(recorder.provider);
    undo.push(
      manageContexts(),
      instrumentPg(recorder.provider, { ignoreConnectSpans: false, requestHook: hideValues }),
      () => instrumentation.disable(),
      () => recorder.stop(),
    );
  });
  afterEach(async () => {
    giveBack?.();
    giveBack = undefined;
    await app.close();
    undo.splice(0).forEach((each) => each());
    await database.drop();
  });

  /** Starts an application whose only connection is held, with spans of what comes after that alone. */
  const start = async (connectionTimeoutMillis = TIMEOUT_OF_POOL_MS): Promise<void> => {
    const connection = noteConnection(database.url, { poolMax: 1, acquireTimeoutMs: 500 });
    const driverOptions = { connectionTimeoutMillis };
    app = await startApp({ connections: [Object.assign(connection, { driverOptions })] });
    const client = await (await app.connection().pool()).connect();
    giveBack = () => client.release();
    recorder.reset();
  };
  const find = (): Promise<unknown> => app.dbContext.run(() => app.session().find(Note, {}));
  const waiterStands = (): Promise<void> =>
    waitFor(() => app.pool().waiting === 1, { what: 'a caller to wait' });

  it.each([0, TIMEOUT_OF_POOL_MS])(
    'ends with it after acquireTimeoutMs, with a timeout of the pool of %s ms',
    async (poolTimeoutMs) => {
      await start(poolTimeoutMs);
      await within(recorder.tracer, 'a job', () =>
        expect(find()).rejects.toMatchObject({ code: 'ACQUIRE_TIMEOUT' }),
      );
      expect(recorder.tree()).toEqual([
        'a job',
        '  TRANSACTION (rolled-back, statements 0, error ACQUIRE_TIMEOUT, failed)',
        '    * db_context.pool.wait',
        '    * db_context.rollback ACQUIRE_TIMEOUT ACQUIRE_TIMEOUT',
        '    pg-pool.connect (failed)',
      ]);
      const [connect] = recorder.spans().filter(({ name }) => name === 'pg-pool.connect');
      expect(connect!.status).toMatchObject({
        code: SpanStatusCode.ERROR,
        message: expect.stringContaining('within 500 ms'),
      });
    },
  );

  it('ends with the context that waited', async () => {
    await start();
    const registry = app.app.get(ContextRegistry);
    await within(recorder.tracer, 'a job', async () => {
      const context = registry.open('a test');
      const waiting = registry.runIn(context, () => app.session().find(Note, {}));
      const refused = expect(waiting).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
      await waiterStands();
      await registry.abandon(context, CLIENT_GONE);
      await refused;
    });
    expect(recorder.tree()).toEqual([
      'a job',
      '  TRANSACTION (rolled-back, statements 0)',
      '    * db_context.pool.wait',
      '    * db_context.rollback CLIENT_GONE',
      '    pg-pool.connect (failed)',
    ]);
  });

  it('is one for each pool where the host changes meanwhile', async () => {
    await start();
    await within(recorder.tracer, 'a job', async () => {
      const found = find();
      await waiterStands();
      const { port } = new URL(database.url);
      await app.connection().changeHost(`${OTHER_NAME}:${port}`);
      await found;
    });
    expect(recorder.tree()).toEqual([
      'a job',
      '  TRANSACTION (committed, statements 1)',
      '    * db_context.pool.wait',
      '    pg-pool.connect (failed)',
      '    pg-pool.connect',
      '      pg.connect',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:COMMIT',
    ]);
  });

  it('F6: leaves the error that its caller gets as it is', async () => {
    await start();
    const error = await find().catch((reason: unknown) => reason);
    const { stack } = error as Error;
    await new Promise(setImmediate);
    expect((error as Error).stack).toBe(stack);
    expect(stack).toContain('checkout.ts');
    expect(stack).not.toContain('pg-pool');
  });
});
