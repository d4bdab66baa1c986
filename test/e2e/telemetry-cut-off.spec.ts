import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get } from '@nestjs/common';
import { SpanStatusCode } from '@opentelemetry/api';
import { DbContext, InjectSession, type DbContextOptions } from 'nestjs-db-context';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import {
  dbContextChannels,
  type AcquireEvent,
  type ContextEndEvent,
  type TransactionEndEvent,
} from 'nestjs-db-context/telemetry';
import { Registry } from 'prom-client';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { manageContexts, recordSpans, type SpanRecorder } from '../support/span-recorder.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const NO_NUMBER = `select int 'no number'`;
let isThere = deferred();
let mayGoOn = deferred();

@Controller()
class CutOffController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('reads-ahead')
  async readsAhead(): Promise<void> {
    await this.dbContext.atomic(() => this.session.find(Note, {}), { begin: 'first-write' });
  }

  @Get('in-none')
  async inNone(): Promise<void> {
    await this.session.transactional((em) => em.find(Note, {}), {
      propagation: 'not_supported' as never,
    });
  }

  @Get('failed')
  async failed(): Promise<void> {
    await this.session.execute(NO_NUMBER).catch(() => undefined);
    await this.#sleep();
  }

  @Get('sleeps')
  async sleeps(): Promise<void> {
    await this.#sleep();
  }

  @Get('sleeps-after-commit')
  async sleepsAfterCommit(): Promise<void> {
    await this.session.find(Note, {});
    await this.dbContext.commit();
    await this.dbContext.close();
    await this.#sleep();
  }

  @Get('sleeps-outside')
  async sleepsOutside(): Promise<void> {
    await this.dbContext.runInNewContext(() => this.#sleep());
  }

  async #sleep(): Promise<void> {
    isThere.resolve();
    await mayGoOn.promise;
  }
}

/** How a context is cut off: by its options, and what is to be done for it. */
interface Way {
  readonly code: string;
  readonly isError: boolean;
  readonly options: Pick<
    DbContextOptions,
    'contextTimeoutMs' | 'onDisconnect' | 'shutdownTimeoutMs'
  >;
}
const GONE: Way = { code: 'CLIENT_GONE', isError: false, options: { onDisconnect: 'rollback' } };
const OVERDUE: Way = { code: 'CONTEXT_TIMEOUT', isError: true, options: { contextTimeoutMs: 300 } };
const CLOSING: Way = { code: 'SHUTTING_DOWN', isError: true, options: { shutdownTimeoutMs: 50 } };

describe('O1: what cuts a context off', () => {
  let database: TestDatabase;
  let recorder: SpanRecorder;
  let register: Registry;
  let acquired: AcquireEvent[] = [];
  let transactions: TransactionEndEvent[] = [];
  let contexts: ContextEndEvent[] = [];
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    recorder = recordSpans();
    register = new Registry();
    const instrumentation = new DbContextInstrumentation({ errorMessages: true });
    instrumentation.setTracerProvider(recorder.provider);
    const onAcquired = (event: AcquireEvent): void => void acquired.push(event);
    const onTransaction = (event: TransactionEndEvent): void => void transactions.push(event);
    const onContext = (event: ContextEndEvent): void => void contexts.push(event);
    dbContextChannels.acquire.error.subscribe(onAcquired);
    dbContextChannels.transactionEnd.subscribe(onTransaction);
    dbContextChannels.contextEnd.subscribe(onContext);
    stops.push(
      manageContexts(),
      collectDbContextMetrics({ register }),
      () => instrumentation.disable(),
      () => recorder.stop(),
      () => void dbContextChannels.acquire.error.unsubscribe(onAcquired),
      () => void dbContextChannels.transactionEnd.unsubscribe(onTransaction),
      () => void dbContextChannels.contextEnd.unsubscribe(onContext),
    );
  });
  afterAll(async () => {
    stops.forEach((stop) => stop());
    await database?.drop();
  });
  beforeEach(() => {
    isThere = deferred();
    mayGoOn = deferred();
    register.resetMetrics();
  });

  /** Sends a request, cuts it off when it is where its path says, and calls `look` before the end. */
  const cutOff = async <T>(
    adapter: AdapterName,
    { code, options }: Way,
    { path, look }: { readonly path: string; readonly look: () => Promise<T> },
  ): Promise<T> => {
    const waits = path === '/reads-ahead' || path === '/in-none';
    const app: TestApp = await startApp({
      adapter,
      connections: [noteConnection(database.url, { poolMax: 1, drainTimeoutMs: 100 })],
      controllers: [CutOffController],
      ...options,
    });
    await app.dbContext.run(() => app.session().find(Note, {}));
    recorder.reset();
    [acquired, transactions, contexts] = [[], [], []];
    const pool = await app.connection().pool();
    const client = waits ? await pool.connect() : undefined;
    const leaving = new AbortController();
    try {
      const answer = app.fetch(path, { signal: leaving.signal });
      const over = answer.then((response) => response.text()).catch(() => undefined);
      await (waits
        ? waitFor(() => app.pool().waiting === 1, { what: 'the request to wait' })
        : isThere.promise);
      if (code === 'CLIENT_GONE') {
        leaving.abort();
      }
      const closed = code === 'SHUTTING_DOWN' ? app.close() : undefined;
      const seen = await look();
      mayGoOn.resolve();
      client?.release();
      await over;
      await closed;
      return seen;
    } finally {
      mayGoOn.resolve();
      await app.close();
    }
  };

  const rolledBack = async (): Promise<(string | undefined)[]> =>
    (await register.metrics())
      .split('\n')
      .filter((line) => /^db_context_transactions_total.*rolled-back.* 1$/.test(line))
      .map((line) => /error_type="(\w+)"/.exec(line)?.[1]);
  const WAYS = [
    ['express', 'CLIENT_GONE', GONE],
    ['fastify', 'CLIENT_GONE', GONE],
    ['express', 'CONTEXT_TIMEOUT', OVERDUE],
    ['fastify', 'SHUTTING_DOWN', CLOSING],
  ] as const;

  describe('while it waits in the queue of the pool', () => {
    const look = async (): Promise<object> => {
      await waitFor(() => recorder.spans().length === 1, { what: 'the span to end' });
      const [span] = recorder.spans();
      return {
        endedBy: acquired.map(({ endedBy }) => endedBy?.code),
        errors: acquired.map(({ error }) => error?.code),
        reason:
          span!.attributes['db_context.reason'] ??
          span!.events.at(-1)?.attributes!['db_context.reason'],
        type: span!.attributes['error.type'],
        isFailed: span!.status.code === SpanStatusCode.ERROR,
        rolledBack: await rolledBack(),
      };
    };

    it.each(WAYS)('is the reason of a read ahead: %s, %s', async (adapter, code, way) => {
      const type = way.isError ? code : undefined;
      expect(await cutOff(adapter, way, { path: '/reads-ahead', look })).toEqual({
        endedBy: [code],
        errors: [way.isError ? code : 'SESSION_CLOSED'],
        reason: code,
        type,
        isFailed: way.isError,
        rolledBack: [type],
      });
    });

    it.each(WAYS)('is the reason of not_supported: %s, %s', async (adapter, code, way) => {
      expect(await cutOff(adapter, way, { path: '/in-none', look })).toEqual({
        endedBy: [code],
        errors: [way.isError ? code : 'SESSION_CLOSED'],
        reason: code,
        type: way.isError ? code : undefined,
        isFailed: way.isError,
        rolledBack: [],
      });
    });
  });

  it.each(WAYS)('is no reason of what had failed before: %s, %s', async (adapter, _, way) => {
    const look = async (): Promise<object> => {
      await waitFor(() => recorder.spans().length === 1, { what: 'the span to end' });
      const [{ endedBy, error }] = transactions as [TransactionEndEvent];
      const [span] = recorder.spans();
      return {
        endedBy,
        error,
        type: span!.attributes['error.type'],
        status: span!.status,
        rolledBack: await rolledBack(),
      };
    };
    const message = 'a statement had failed: invalid input syntax for type integer: "?"';
    expect(await cutOff(adapter, way, { path: '/failed', look })).toEqual({
      endedBy: undefined,
      error: { name: 'UnexpectedRollbackError', code: 'UNEXPECTED_ROLLBACK', message },
      type: '22P02',
      status: { code: SpanStatusCode.ERROR, message },
      rolledBack: ['22P02'],
    });
  });

  describe('is in context:end, also where it had no session', () => {
    const look = async (): Promise<object> => {
      await waitFor(() => contexts.length > 0, { what: 'the context to end' });
      return contexts.map(({ outcome, endedBy, reason }) => [
        outcome,
        endedBy?.code,
        endedBy?.what === reason,
      ]);
    };

    it.each(WAYS)('%s, %s', async (adapter, code, way) => {
      for (const path of ['/sleeps', '/sleeps-after-commit']) {
        isThere = deferred();
        mayGoOn = deferred();
        const seen = await cutOff(adapter, way, { path, look });
        expect([path, seen]).toEqual([path, [['rolled-back', code, true]]]);
      }
    });

    it('of the context around another one', async () => {
      const all = await cutOff('express', GONE, { path: '/sleeps-outside', look });
      expect(all).toContainEqual(['rolled-back', 'CLIENT_GONE', true]);
    });
  });
});
