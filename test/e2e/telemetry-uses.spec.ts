import type { ConnectionEvent, ConnectionUse } from 'nestjs-db-context/telemetry';

import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { recordTelemetry, type TelemetryRecorder } from '../support/telemetry-recorder.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { readAhead, readInNone } from '../support/uses-of-connections.js';

const SELECT = 'select "n0".* from "note" as "n0"';

describe('O1: the events of connections', () => {
  let database: TestDatabase;
  let app: TestApp;
  let recorder: TelemetryRecorder;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      connections: [noteConnection(database.url, { poolMax: 1, acquireTimeoutMs: 200 })],
    });
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });
  afterEach(() => recorder?.stop());

  const record = async (work: () => Promise<unknown>): Promise<string[]> => {
    recorder = recordTelemetry();
    await app.dbContext.run(work);
    recorder.stop();
    return recorder.lines.filter((line) => !line.startsWith('context:'));
  };
  /** Works while the only connection is taken. */
  const whileTaken = async (work: () => Promise<unknown>): Promise<string[]> => {
    const client = await (await app.connection().pool()).connect();
    try {
      return await record(() => expect(work()).rejects.toMatchObject({ code: 'ACQUIRE_TIMEOUT' }));
    } finally {
      client.release();
    }
  };

  it('of a read ahead of the first write are those of a use of its own', async () => {
    await app.dbContext.run(() => readAhead(app));
    expect(await record(() => readAhead(app))).toEqual([
      'acquire:start read1 default',
      'acquire:done read1 default',
      `statement:start read1 default statement: begin isolation level read committed read only; ${SELECT}; commit`,
      'statement:done read1 default 0 rows',
      'pool:release read1 default',
    ]);
    const [row] = await database.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
    );
    const { use } = recorder.events.find(({ name }) => name.endsWith('release'))!.event as {
      use: ConnectionUse;
    };
    expect(use).toMatchObject({ kind: 'read', processId: row!.pid });
    expect(JSON.stringify(use)).not.toContain('password');
  });

  it('of two reads ahead, and of the first write after them, are told apart', async () => {
    const lines = await record(() =>
      app.dbContext.atomic(
        async () => {
          await app.session().find(Note, {});
          await app.session().find(Note, {});
          await app.session().insert(Note, { text: 'a note' });
        },
        { begin: 'first-write' },
      ),
    );
    const of = (what: string): string[] => lines.filter((line) => line.startsWith(what));
    expect(of('acquire:start')).toEqual([
      'acquire:start read1 default',
      'acquire:start read2 default',
      'acquire:start t3 default',
    ]);
    expect(of('pool:release')).toEqual([
      'pool:release read1 default',
      'pool:release read2 default',
      'pool:release t3 default',
    ]);
    expect(of('transaction:start')).toHaveLength(1);
  });

  it('of a statement in no transaction are those of a use of its own', async () => {
    expect(await record(() => readInNone(app))).toEqual([
      'acquire:start autocommit1 default',
      'acquire:done autocommit1 default',
      `statement:start autocommit1 default statement: ${SELECT}`,
      'statement:done autocommit1 default 1 rows',
      'pool:release autocommit1 default',
    ]);
  });

  it.each([
    ['read', readAhead],
    ['autocommit', readInNone],
  ])('of a wait of a use that is given up: %s', async (kind, work) => {
    expect(await whileTaken(() => work(app))).toEqual([
      `acquire:start ${kind}1 default`,
      `pool:wait ${kind}1 default 1 of 1 in use, 1 waiting`,
      `acquire:done ${kind}1 default [ACQUIRE_TIMEOUT]`,
    ]);
  });

  it('of a client that is lent name the loan, and what is sent in it', async () => {
    const lines = await record(() =>
      app.dbContext.withClient((client) => client.query('select 1')),
    );
    expect(lines.slice(3)).toEqual([
      'statement:start t1 default begin: begin',
      'statement:done t1 default 0 rows',
      'transaction:begin t1',
      'lend:start t1 default',
      'statement:start t1 default lent statement: select ?',
      'statement:done t1 default 1 rows',
      'lend:done t1 default',
      'statement:start t1 default commit: commit',
      'statement:done t1 default 0 rows',
      'pool:release t1 default',
      'transaction:end t1 committed',
    ]);
  });

  it('of a connection that is closed: one, and its pool counts for nothing any more', async () => {
    const other = await startApp({ connections: [noteConnection(database.url)] });
    await other.dbContext.run(() => other.session().find(Note, {}));
    recorder = recordTelemetry();
    await Promise.all([other.close(), other.connection().close()]);
    expect(recorder.lines).toEqual(['connection:close default']);
    const { connection } = recorder.events[0]!.event as ConnectionEvent;
    expect([connection.name, connection.pool]).toEqual(['default', undefined]);
  });
});
