import { AsyncLocalStorage } from 'node:async_hooks';

import { Controller, ForbiddenException, Get, HttpCode, Post } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Client } from 'pg';
import {
  AcquireTimeoutError,
  DbContext,
  InjectSession,
  PoolDeadlockError,
  RetryOnSerializationFailure,
} from 'nestjs-db-context';
import {
  dbContextChannels,
  UNMASKED,
  type StatementEvent,
  type TransactionEvent,
  type TransactionInfo,
} from 'nestjs-db-context/telemetry';

import { ContextSessions } from '../../lib/context/context-sessions.js';
import { StateMachine } from '../../lib/transaction/state-machine.js';

import { endLeftoverSubscriptions } from '../support/leftover-subscribers.js';
import { deferred } from '../support/deferred.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { recordTelemetry, type TelemetryRecorder } from '../support/telemetry-recorder.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const SECRET = 'a secret of the client';
let retries = 0;

@Controller()
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('read')
  read(): Promise<Note[]> {
    return this.session.find(Note, { text: SECRET });
  }

  @Post('write')
  async write(): Promise<void> {
    await this.session.insert(Note, { text: SECRET });
    this.audit.persist(new Note(SECRET));
    this.dbContext.beforeCommit(() => undefined);
    this.dbContext.onCommit(() => undefined);
  }

  @Get('refused')
  async refused(): Promise<never> {
    await this.session.find(Note, {});
    throw new ForbiddenException();
  }

  @Post('retried')
  @HttpCode(200)
  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 0 })
  async retried(): Promise<void> {
    const code = retries++ === 0 ? '40001' : '00000';
    await this.session.execute(
      `do $$ begin if '${code}' <> '00000' then raise exception 'again' using errcode = '${code}'; end if; end $$`,
    );
  }

  @Post('savepoints')
  @HttpCode(200)
  async savepoints(): Promise<void> {
    await this.session.find(Note, {});
    await this.session.transactional((em) => em.insert(Note, { text: 'kept' }));
    await this.session
      .transactional(async (em) => {
        await em.insert(Note, { text: 'undone' });
        throw new Error('undo');
      })
      .catch(() => undefined);
  }

  @Post('beside')
  @HttpCode(200)
  async beside(): Promise<void> {
    await this.session.find(Note, {});
    await this.session.transactional((em) => em.insert(Note, { text: 'beside' }), {
      propagation: 'requires_new' as never,
    });
  }

  @Post('failed-commit')
  async failedCommit(): Promise<void> {
    await this.session.execute(`insert into deferred_child (parent) values (4711)`);
  }
}

const SELECT = 'select "n0".* from "note" as "n0"';
const INSERT = 'insert into "note" ("text") values (?) returning "id"';

/** What is published of one message to the server. */
function message(where: string, text: string, result: string): string[] {
  return [`statement:start ${where} ${text}`, `statement:done ${where}${result}`];
}

/** What is published as a transaction begins, together with its first statement. */
function begun(where: string, origin: string, text: string, result = ' 0 rows'): string[] {
  return [
    `transaction:start ${where} of ${origin}`,
    `acquire:start ${where}`,
    `acquire:done ${where}`,
    ...message(where, `statement: begin; ${text}`, result),
    `transaction:begin ${where.split(' ')[0]}`,
  ];
}

/** What is published as one ends. */
function ended(where: string, verb: 'commit' | 'rollback', outcome: string): string[] {
  return [
    ...message(where, `${verb}: ${verb}`, ' 0 rows'),
    `pool:release ${where}`,
    `transaction:end ${where.split(' ')[0]} ${outcome}`,
  ];
}

describe.each<AdapterName>(['express', 'fastify'])('O1: the events over %s', (adapter) => {
  let database: TestDatabase;
  let audit: TestDatabase;
  let app: TestApp;
  let recorder: TelemetryRecorder | undefined;

  beforeAll(async () => {
    endLeftoverSubscriptions();
    [database, audit] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    await Promise.all([database.query(NOTE_SCHEMA), audit.query(NOTE_SCHEMA)]);
    await database.query(
      'create table deferred_parent (id int primary key); create table deferred_child (parent int ' +
        'references deferred_parent deferrable initially deferred)',
    );
    app = await startApp({
      adapter,
      connections: [
        noteConnection(database.url, { poolMax: 2, acquireTimeoutMs: 300, deadlockTimeoutMs: 20 }),
        noteConnection(audit.url, { name: 'audit' }),
      ],
      controllers: [NotesController],
    });
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
    await audit?.drop();
  });
  beforeEach(async () => {
    retries = 0;
    await database.query('truncate note');
  });
  afterEach(() => recorder?.stop());

  const linesOf = async (
    path: string,
    method: 'GET' | 'POST',
    status: number,
  ): Promise<string[]> => {
    recorder = recordTelemetry();
    expect((await app.fetch(path, { method })).status).toBe(status);
    recorder.stop();
    return recorder.lines;
  };

  it('of a read', async () => {
    expect(await linesOf('/read', 'GET', 200)).toEqual([
      'context:open NotesController.read',
      ...begun('t1 default', 'NotesController.read', `${SELECT} where "n0"."text" = ?`),
      ...ended('t1 default', 'commit', 'committed'),
      'context:end NotesController.read committed (default)',
    ]);
  });

  it('of a write over two databases, with hooks', async () => {
    const origin = 'NotesController.write';
    expect(await linesOf('/write', 'POST', 201)).toEqual([
      `context:open ${origin}`,
      ...begun('t1 default', origin, INSERT, ' 1 rows'),
      `hook:end beforeCommit of ${origin}`,
      ...begun('t2 audit', origin, INSERT, ' 1 rows'),
      ...ended('t1 default', 'commit', 'committed'),
      ...ended('t2 audit', 'commit', 'committed'),
      `context:open an onCommit hook of ${origin}`,
      `context:end an onCommit hook of ${origin} committed ()`,
      `hook:end onCommit of ${origin}`,
      `context:end ${origin} committed (default, audit)`,
    ]);
  });

  it('of a request that is rolled back', async () => {
    expect(await linesOf('/refused', 'GET', 403)).toEqual([
      'context:open NotesController.refused',
      ...begun('t1 default', 'NotesController.refused', SELECT),
      ...ended('t1 default', 'rollback', 'rolled-back'),
      'context:end NotesController.refused rolled-back (default)',
    ]);
  });

  it('of a request that is retried', async () => {
    const origin = 'NotesController.retried';
    expect(await linesOf('/retried', 'POST', 200)).toEqual([
      `context:open ${origin}`,
      ...begun('t1 default', origin, 'do ?', ' [40001] no rows'),
      ...ended('t1 default', 'rollback', 'rolled-back [UNEXPECTED_ROLLBACK]'),
      `context:end ${origin} rolled-back (default)`,
      `retry ${origin} after attempt 1 [40001]`,
      `context:open ${origin}`,
      ...begun('t2 default', origin, 'do ?'),
      ...ended('t2 default', 'commit', 'committed'),
      `context:end ${origin} committed (default)`,
    ]);
  });

  it('of savepoints', async () => {
    const origin = 'NotesController.savepoints';
    const insert = message('t1 default', `statement: ${INSERT}`, ' 1 rows');
    const set = [
      ...message('t1 default', 'statement: savepoint "trx1"', ' 0 rows'),
      'savepoint:set t1 trx1',
    ];
    expect(await linesOf('/savepoints', 'POST', 200)).toEqual([
      `context:open ${origin}`,
      ...begun('t1 default', origin, SELECT),
      ...set,
      ...insert,
      ...message('t1 default', 'statement: release savepoint "trx1"', ' 0 rows'),
      'savepoint:end t1 trx1 committed',
      ...set,
      ...insert,
      ...message(
        't1 default',
        'statement: rollback to savepoint "trx1"; release savepoint "trx1"',
        ' 0 rows',
      ),
      'savepoint:end t1 trx1 rolled-back',
      ...ended('t1 default', 'commit', 'committed'),
      `context:end ${origin} committed (default)`,
    ]);
  });

  it('of a transaction beside that of the session (requires_new)', async () => {
    const origin = 'NotesController.beside';
    expect(await linesOf('/beside', 'POST', 200)).toEqual([
      `context:open ${origin}`,
      ...begun('t1 default', origin, SELECT),
      `transaction:start t2 default of ${origin}`,
      'acquire:start t2 default',
      'acquire:done t2 default',
      ...message('t2 default', 'begin: begin', ' 0 rows'),
      'transaction:begin t2',
      ...message('t2 default', `statement: ${INSERT}`, ' 1 rows'),
      ...ended('t2 default', 'commit', 'committed'),
      ...ended('t1 default', 'commit', 'committed'),
      `context:end ${origin} committed (default)`,
    ]);
  });

  it('of a commit that fails', async () => {
    const origin = 'NotesController.failedCommit';
    expect(await linesOf('/failed-commit', 'POST', 500)).toEqual([
      `context:open ${origin}`,
      ...begun('t1 default', origin, 'insert into deferred_child (parent) values (?)', ' 1 rows'),
      ...message('t1 default', 'commit: commit', ' [23503] no rows'),
      ...ended('t1 default', 'rollback', 'rolled-back [23503]'),
      `context:end ${origin} rolled-back (default) [23503]`,
    ]);
  });

  it('of a pool deadlock', async () => {
    const { dbContext } = app;
    const find = (): Promise<Note[]> => app.session().find(Note, {});
    recorder = recordTelemetry();
    const deadlocked = dbContext.run(async () => {
      await find();
      await dbContext.runInNewContext(async () => {
        await find();
        await dbContext.runInNewContext(find);
      });
    });
    await expect(deadlocked).rejects.toMatchObject({ constructor: PoolDeadlockError });
    const of = (number: number): string[] =>
      recorder!.lines.filter((line) => line.includes(`t${number} `));
    expect(of(3)).toEqual([
      'transaction:start t3 default of runInNewContext()',
      'acquire:start t3 default',
      'pool:wait t3 default 2 of 2 in use, 1 waiting',
      'acquire:done t3 default [POOL_DEADLOCK]',
      'transaction:end t3 rolled-back [POOL_DEADLOCK]',
    ]);
  });

  it('of a wait for a connection that is given up', async () => {
    const { dbContext } = app;
    const isOver = deferred();
    const find = (): Promise<Note[]> => app.session().find(Note, {});
    let found = 0;
    const holding = [1, 2].map(() =>
      dbContext.run(async () => {
        await find();
        found++;
        await isOver.promise;
      }),
    );
    try {
      await waitFor(() => found === 2, { what: 'both to hold a connection' });
      recorder = recordTelemetry();
      await expect(dbContext.run(find)).rejects.toMatchObject({ constructor: AcquireTimeoutError });
      expect(recorder.lines).toEqual([
        'context:open dbContext.run()',
        'transaction:start t1 default of dbContext.run()',
        'acquire:start t1 default',
        'pool:wait t1 default 2 of 2 in use, 1 waiting',
        'acquire:done t1 default [ACQUIRE_TIMEOUT]',
        'transaction:end t1 rolled-back [ACQUIRE_TIMEOUT]',
        'context:end dbContext.run() rolled-back (default)',
      ]);
    } finally {
      isOver.resolve();
      await Promise.all(holding);
    }
  });

  it('of a change of the host', async () => {
    const connection = app.connection();
    const [, port] = connection.host.split(':');
    recorder = recordTelemetry();
    const before = connection.host;
    await connection.changeHost(`localhost:${port}`);
    const { lines } = recorder;
    await waitFor(() => lines.length === 2, { what: 'the former pool to be drained' });
    expect(lines).toEqual(['host:change default', 'host:drain default']);
    await connection.changeHost(before);
  });

  it('show no value of a statement by default', async () => {
    const lines = await linesOf('/read', 'GET', 200);
    const { events } = recorder!;
    const all = events.map(({ event }) => [JSON.stringify(event), String(event)]);
    expect(JSON.stringify([lines, all])).not.toContain(SECRET);
    const statement = events.find(({ name }) => name.endsWith('statement:start'))!;
    expect((statement.event as StatementEvent)[UNMASKED].texts[1]).toContain(SECRET);
  });

  it('make no object where nobody listens, and the same ones where somebody does', async () => {
    // These make all objects that events consist of.
    const makers = [ContextSessions.prototype, StateMachine.prototype];
    const originals = makers.map((maker) => Object.getOwnPropertyDescriptor(maker, 'telemetry')!);
    const asked = [0, 0];
    makers.forEach((maker, index) => {
      const get = function counted(this: unknown): unknown {
        asked[index]! += 1;
        return originals[index]!.get!.call(this);
      };
      Object.defineProperty(maker, 'telemetry', { ...originals[index], get });
    });
    try {
      expect((await app.fetch('/savepoints', { method: 'POST' })).status).toBe(200);
      expect((await app.fetch('/refused')).status).toBe(403);
      expect(asked).toEqual([0, 0]);
      await database.query('truncate note');
      await linesOf('/savepoints', 'POST', 200);
      expect(Math.min(...asked)).toBeGreaterThan(0);
    } finally {
      makers.forEach((maker, index) =>
        Object.defineProperty(maker, 'telemetry', originals[index]!),
      );
    }
  });

  it('bind stores, so that each message leaves in the span of its transaction, and that in its request', async () => {
    const spans = new AsyncLocalStorage<string>();
    const ofTransaction = new WeakMap<TransactionInfo, string>();
    const started = ({ transaction }: TransactionEvent): void =>
      void ofTransaction.set(transaction, `transaction of ${spans.getStore()}`);
    dbContextChannels.transactionStart.subscribe(started);
    dbContextChannels.statement.start.bindStore(spans, ({ transaction }) =>
      transaction === undefined ? 'none' : ofTransaction.get(transaction)!,
    );
    // As the instrumentation of pg: it looks which span is active as a query is handed to pg.
    const sent: unknown[] = [];
    const query = Reflect.get(Client.prototype, 'query') as (...args: unknown[]) => unknown;
    Client.prototype.query = function spied(this: Client, ...args: unknown[]): unknown {
      sent.push([String(args[0]).split(' ')[0], spans.getStore()]);
      return query.apply(this, args);
    } as never;
    try {
      const request = (name: string): Promise<void> =>
        spans.run(name, () =>
          app.dbContext.run(async () => {
            await app.session().find(Note, {});
            await app.session().find(Note, { text: name });
            expect(spans.getStore()).toBe(name);
          }),
        );
      await request('request 1');
      await request('request 2');
    } finally {
      Client.prototype.query = query as never;
      dbContextChannels.transactionStart.unsubscribe(started);
      dbContextChannels.statement.start.unbindStore(spans);
    }
    const of = (name: string): unknown[] =>
      ['begin;select', 'select', 'commit'].map((text) => [text, `transaction of ${name}`]);
    expect(sent).toEqual([...of('request 1'), ...of('request 2')]);
  });
});
