import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, ForbiddenException, Get, HttpCode, Param, Post } from '@nestjs/common';
import { DbContext, InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import {
  instrumentPg,
  manageContexts,
  recordSpans,
  spanOfEachRequest,
  within,
  type SpanRecorder,
} from '../support/span-recorder.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let failures = 0;

@Controller()
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('read/:id')
  read(@Param('id') id: string): Promise<Note[]> {
    return this.session.find(Note, { text: id });
  }

  @Post('write')
  async write(): Promise<void> {
    await this.session.insert(Note, { text: 'a note' });
    this.audit.persist(new Note('a note'));
  }

  @Get('refused')
  async refused(): Promise<never> {
    await this.session.find(Note, {});
    throw new ForbiddenException();
  }

  @Post('twice')
  async twice(): Promise<void> {
    await this.session.insert(Note, { text: 'twice' });
    await this.session.insert(Note, { text: 'twice' });
  }

  @Post('retried')
  @HttpCode(200)
  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 0 })
  async retried(): Promise<void> {
    await this.session.find(Note, {});
    await this.#failFirst();
  }

  @Post('nested')
  @HttpCode(200)
  async nested(): Promise<void> {
    await this.session.find(Note, {});
    await this.dbContext.runInNewContext(() => this.#failFirst(), {
      retry: { attempts: 2, backoffMs: 0 },
    });
  }

  @Post('savepoints')
  @HttpCode(200)
  async savepoints(): Promise<void> {
    await this.session.transactional((em) => em.insert(Note, { text: 'kept' }));
    await this.session
      .transactional(async (em) => {
        await em.insert(Note, { text: 'undone' });
        throw new Error('undo');
      })
      .catch(() => undefined);
  }

  @Get('without')
  without(): string {
    return 'no transaction';
  }

  async #failFirst(): Promise<void> {
    const code = failures++ === 0 ? '40001' : '00000';
    await this.session.execute(
      `do $$ begin if '${code}' <> '00000' then raise exception 'again' using errcode = '${code}'; end if; end $$`,
    );
  }
}

describe.each<AdapterName>(['express', 'fastify'])('O1: the spans over %s', (adapter) => {
  let database: TestDatabase;
  let audit: TestDatabase;
  let app: TestApp;
  let recorder: SpanRecorder;
  let instrumentation: DbContextInstrumentation;
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    [database, audit] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    await Promise.all([database.query(NOTE_SCHEMA), audit.query(NOTE_SCHEMA)]);
    recorder = recordSpans();
    instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(recorder.provider);
    stops.push(manageContexts(), instrumentPg(recorder.provider), () => recorder.stop());
    app = await startApp({
      adapter,
      connections: [
        // What resets a session, which nobody waits for, would be a span of its own after the DO.
        noteConnection(database.url, { resetOnRelease: 'never' }),
        noteConnection(audit.url, { name: 'audit' }),
      ],
      controllers: [NotesController],
      configure: spanOfEachRequest(() => recorder.tracer),
    });
  });
  afterAll(async () => {
    instrumentation?.disable();
    stops.forEach((stop) => stop());
    await app?.close();
    await database?.drop();
    await audit?.drop();
  });
  beforeEach(async () => {
    failures = 0;
    await database.query('truncate note');
    recorder.reset();
  });

  const treeOf = async (path: string, method: 'GET' | 'POST', status: number) => {
    expect((await app.fetch(path, { method })).status).toBe(status);
    await waitFor(() => recorder.spans().some(({ name }) => name.startsWith(method)), {
      what: 'the span of the request',
    });
    return recorder.tree();
  };

  it('of a read', async () => {
    expect(await treeOf('/read/a', 'GET', 200)).toEqual([
      'GET /read/a (200)',
      '  TRANSACTION (committed, statements 1)',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:COMMIT',
    ]);
  });

  it('of a write over two databases', async () => {
    expect(await treeOf('/write', 'POST', 201)).toEqual([
      'POST /write (201)',
      '  TRANSACTION (committed, statements 1)',
      '    pg.query:BEGIN;INSERT',
      '    pg.query:COMMIT',
      '  TRANSACTION (committed, statements 1)',
      '    pg.query:BEGIN;INSERT',
      '    pg.query:COMMIT',
    ]);
    const names = recorder.spans().map(({ name }) => name);
    expect(names).toContain(`TRANSACTION ${database.name}`);
    expect(names).toContain(`TRANSACTION ${audit.name}`);
  });

  it('of a request that its own code rolls back', async () => {
    expect(await treeOf('/refused', 'GET', 403)).toEqual([
      'GET /refused (403)',
      '  TRANSACTION (rolled-back, statements 1)',
      '    * db_context.rollback application',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:ROLLBACK',
    ]);
  });

  it('of a request that is rolled back since a statement has failed', async () => {
    expect(await treeOf('/twice', 'POST', 500)).toEqual([
      'POST /twice (500)',
      '  TRANSACTION (rolled-back, statements 2, error 23505, failed)',
      '    * db_context.rollback UNEXPECTED_ROLLBACK 23505 23505',
      '    pg.query:BEGIN;INSERT',
      '    pg.query:INSERT (failed)',
      '    pg.query:ROLLBACK',
    ]);
  });

  it('of a request that is retried', async () => {
    expect(await treeOf('/retried', 'POST', 200)).toEqual([
      'POST /retried (200)',
      '  * db_context.retry 40001',
      '  TRANSACTION (rolled-back, statements 2, error 40001, failed)',
      '    * db_context.rollback UNEXPECTED_ROLLBACK 40001 40001',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:DO (failed)',
      '    pg.query:ROLLBACK',
      '  TRANSACTION (committed, statements 2, retries 1)',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:DO',
      '    pg.query:COMMIT',
    ]);
  });

  it('of a context of its own in a request, which is retried', async () => {
    expect(await treeOf('/nested', 'POST', 200)).toEqual([
      'POST /nested (200)',
      '  * db_context.retry 40001',
      '  TRANSACTION (committed, statements 1)',
      '    pg.query:BEGIN;SELECT',
      '    pg.query:COMMIT',
      '  TRANSACTION (rolled-back, statements 1, error 40001, failed)',
      '    * db_context.rollback UNEXPECTED_ROLLBACK 40001 40001',
      '    pg.query:BEGIN;DO (failed)',
      '    pg.query:ROLLBACK',
      '  TRANSACTION (committed, statements 1, retries 1)',
      '    pg.query:BEGIN;DO',
      '    pg.query:COMMIT',
    ]);
  });

  it('of savepoints', async () => {
    expect(await treeOf('/savepoints', 'POST', 200)).toEqual([
      'POST /savepoints (200)',
      '  TRANSACTION (committed, statements 6)',
      '    * db_context.savepoint.set trx1',
      '    * db_context.savepoint.end trx1 committed',
      '    * db_context.savepoint.set trx1',
      '    * db_context.savepoint.end trx1 rolled-back',
      '    pg.query:BEGIN;SAVEPOINT',
      '    pg.query:INSERT',
      '    pg.query:RELEASE',
      '    pg.query:SAVEPOINT',
      '    pg.query:INSERT',
      '    pg.query:ROLLBACK',
      '    pg.query:COMMIT',
    ]);
  });

  it('of a request without a transaction: none', async () => {
    expect(await treeOf('/without', 'GET', 200)).toEqual(['GET /without (200)']);
  });

  it('of a job, with and without a span around it', async () => {
    const work = (): Promise<unknown> => app.dbContext.run(() => app.session().find(Note, {}));
    await work();
    await within(recorder.tracer, 'a job', work);
    const transaction = [
      'TRANSACTION (committed, statements 1)',
      '  pg.query:BEGIN;SELECT',
      '  pg.query:COMMIT',
    ];
    expect(recorder.tree()).toEqual([
      ...transaction,
      'a job',
      ...transaction.map((line) => `  ${line}`),
    ]);
  });
});
