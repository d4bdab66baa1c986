import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { manageContexts, recordSpans, type SpanRecorder } from '../support/span-recorder.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let hasRead = deferred();
let mayGoOn = deferred();

@Controller()
class SlowController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('slow')
  async slow(): Promise<void> {
    await this.session.find(Note, {});
    hasRead.resolve();
    await mayGoOn.promise;
  }
}

describe('O1: a span says why its transaction was rolled back', () => {
  let database: TestDatabase;
  let app: TestApp;
  let recorder: SpanRecorder;
  let instrumentation: DbContextInstrumentation;
  let undo: () => void;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    undo = manageContexts();
    recorder = recordSpans();
    instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(recorder.provider);
    app = await startApp({
      connections: [noteConnection(database.url, { transactionTimeoutMs: 400 })],
      controllers: [SlowController],
      onDisconnect: 'rollback',
    });
  });
  afterAll(async () => {
    instrumentation?.disable();
    recorder?.stop();
    undo?.();
    await app?.close();
    await database?.drop();
  });
  beforeEach(() => {
    hasRead = deferred();
    mayGoOn = deferred();
    recorder.reset();
  });
  afterEach(() => mayGoOn.resolve());

  const treeOfOne = async (): Promise<string[]> => {
    await waitFor(() => recorder.spans().length === 1, { what: 'the span to end' });
    return recorder.tree();
  };

  it('since its client has left', async () => {
    const leaving = new AbortController();
    const request = app.fetch('/slow', { signal: leaving.signal }).catch(() => undefined);
    await hasRead.promise;
    leaving.abort();
    await request;
    expect(await treeOfOne()).toEqual([
      'TRANSACTION (rolled-back, statements 1)',
      '  * db_context.rollback CLIENT_GONE',
    ]);
  });

  it('since it was open for too long', async () => {
    const answer = app.fetch('/slow');
    expect(await treeOfOne()).toEqual([
      'TRANSACTION (rolled-back, statements 1, error TRANSACTION_TIMEOUT, failed)',
      '  * db_context.rollback TRANSACTION_TIMEOUT TRANSACTION_TIMEOUT',
    ]);
    mayGoOn.resolve();
    await answer;
  });

  it('which is not a statement that a savepoint has undone', async () => {
    const work = app.dbContext.run(async () => {
      const undone = app.session().transactional((em) => em.execute(`select int 'no number'`));
      await undone.catch(() => undefined);
      await mayGoOn.promise;
    });
    expect((await treeOfOne()).at(-1)).toBe(
      '  * db_context.rollback TRANSACTION_TIMEOUT TRANSACTION_TIMEOUT',
    );
    mayGoOn.resolve();
    await expect(work).rejects.toMatchObject({ code: 'TRANSACTION_TIMEOUT' });
  });

  it('since its own code has, which goes on', async () => {
    await app.dbContext.run(async () => {
      await app.session().find(Note, {});
      await app.dbContext.rollback();
      await app.session().find(Note, {});
    });
    expect(recorder.tree()).toEqual([
      'TRANSACTION (rolled-back, statements 1)',
      '  * db_context.rollback application',
      'TRANSACTION (committed, statements 1)',
    ]);
  });

  it('since that was asked for', async () => {
    await app.dbContext
      .run(async () => {
        await app.session().find(Note, {});
        app.dbContext.rollbackOnly();
      })
      .catch(() => undefined);
    expect(await treeOfOne()).toEqual([
      'TRANSACTION (rolled-back, statements 1)',
      '  * db_context.rollback application',
    ]);
  });
});
