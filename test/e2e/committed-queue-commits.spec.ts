import { randomUUID } from 'node:crypto';

import { TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { BullModule, getQueueToken } from '@nestjs/bullmq';
import type { Queue } from 'bullmq';
import { InvalidTransactionStateError, UnknownConnectionError } from 'nestjs-db-context';
import {
  DbContextBullModule,
  getCommittedQueueToken,
  type CommittedQueue,
} from 'nestjs-db-context/bullmq';

import { fullMessage } from '../support/full-message.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { describeWithRedis, startRedis, type TestRedis } from '../support/redis.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { fail } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const { REQUIRES_NEW } = TransactionPropagation;

describeWithRedis('which commit a job leaves with', () => {
  let redis: TestRedis;
  let database: TestDatabase;
  let app: TestApp;
  let session: EntityManager;
  let mail: CommittedQueue<string>;
  const log = new LogRecorder();

  const start = async (names: readonly string[], queue: object = {}): Promise<TestApp> =>
    startApp({
      connections: names.map((name) => ({ ...noteConnection(database.url), name })),
      imports: [
        BullModule.forRoot({ connection: redis.connection, prefix: randomUUID() }),
        DbContextBullModule.registerQueue({ name: 'mail', ...queue }),
      ],
      configure: (each) => each.useLogger(log),
    });

  beforeAll(async () => {
    [redis, database] = await Promise.all([startRedis(), createTestDatabase()]);
    await database.query(NOTE_SCHEMA);
    app = await start(['default', 'reports']);
    session = app.session();
    mail = app.app.get(getCommittedQueueToken('mail'));
  });
  afterAll(async () => {
    await app?.close();
    await redis.stop();
    await database.drop();
  });
  beforeEach(async () => {
    log.lines.length = 0;
    await mail.queue.obliterate({ force: true });
    await database.query('truncate note restart identity');
  });

  const jobs = async (): Promise<string[]> =>
    (await mail.queue.getJobs()).map(({ data }) => data).toSorted();
  const rows = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by text')).map(
      ({ text }) => text,
    );
  /** Saves a note, and sends a job about it. */
  const save = async (text: string, em: EntityManager = session): Promise<void> => {
    await em.insert(Note, { text });
    await mail.add('saved', text);
  };

  it.each<[string, (text: string) => Promise<unknown>]>([
    ['session.commit()', async (text) => save(text).then(() => session.commit())],
    ['commitAll()', async (text) => save(text).then(() => app.dbContext.commitAll())],
    ['atomic()', (text) => app.dbContext.atomic(() => save(text))],
    [
      '"requires_new"',
      (text) => session.transactional(() => save(text), { propagation: REQUIRES_NEW }),
    ],
  ])(
    'W1, C5: a job of a batch is sent with the commit that saves the batch: %s',
    async (_, commit) => {
      const seen: string[][] = [];
      const batches = app.dbContext.run(async () => {
        for (const text of ['first', 'second']) {
          await commit(text);
          seen.push(await jobs());
        }
        await save('third');
        fail();
      });
      await expect(batches).rejects.toThrow('undo');
      expect(seen).toEqual([['first'], ['first', 'second']]);
      expect([await rows(), await jobs()]).toEqual([
        ['first', 'second'],
        ['first', 'second'],
      ]);
    },
  );

  it('C5: a job of "requires_new" follows that transaction, whatever becomes of the one around it', async () => {
    const nested = async (text: string, end: () => void): Promise<void> =>
      session.transactional(async () => save(text).then(end), { propagation: REQUIRES_NEW });
    await app.dbContext.run(async () => {
      await save('outer');
      await expect(nested('inner', fail)).rejects.toThrow('undo');
    });
    await expect(
      app.dbContext.run(async () => {
        await save('outer again');
        await nested('inner again', () => undefined);
        fail();
      }),
    ).rejects.toThrow('undo');
    expect([await rows(), await jobs()]).toEqual([
      ['inner again', 'outer'],
      ['inner again', 'outer'],
    ]);
  });

  it('C5: an early commit of another connection does not send it; withCommitOf() names the one', async () => {
    const reports = app.session('reports');
    let early: string[] = [];
    const run = app.dbContext.run(async () => {
      await mail.add('saved', 'of the default');
      await mail.withCommitOf('reports').add('saved', 'of the reports');
      await reports.insert(Note, { text: 'report' });
      await reports.commit();
      early = await jobs();
      fail();
    });
    await expect(run).rejects.toThrow('undo');
    expect([early, await jobs()]).toEqual([['of the reports'], ['of the reports']]);
    expect(() => mail.withCommitOf('nowhere')).toThrow(UnknownConnectionError);
  });

  it('C5: it follows the only connection, or commitOf; of several without a default one it asks for it', async () => {
    const add = async (names: string[], options: object = {}): Promise<string> => {
      const other = await start(names, options);
      try {
        const queue: CommittedQueue<string> = other.app.get(getCommittedQueueToken('mail'));
        await other.dbContext.run(async () => {
          await queue.add('saved', names[0]!);
          await other.session(names[0]).commit();
          const [job] = await other.app.get<Queue<string>>(getQueueToken('mail')).getJobs();
          expect(job?.data).toBe(names[0]);
        });
        return 'sent';
      } catch (error) {
        return (error as Error).message;
      } finally {
        await other.close();
      }
    };
    expect(await add(['only'])).toBe('sent');
    expect(await add(['a', 'b'], { commitOf: 'a' })).toBe('sent');
    expect(await add(['a', 'b'])).toMatch(
      /^The queue "mail" does not say whose commit its jobs wait for, and the application has the connections "a", "b"/,
    );
  });

  it('C5, C6: what belongs to a commit is refused in the transaction of another session', async () => {
    const { dbContext } = app;
    const refused: unknown[] = [];
    const attempts: Record<string, () => unknown> = {
      'withClient()': () => dbContext.withClient((client) => client.query('select 1')),
      'dbContext.onRollback()': () => dbContext.onRollback(() => undefined),
      'dbContext.beforeCommit()': () => dbContext.beforeCommit(() => undefined),
      'What follows a commit': () => dbContext.onCommit(() => undefined),
      'What follows': () => dbContext.onCommit(() => undefined, { connection: 'default' }),
      'What follows a': () => mail.add('saved', 'refused'),
    };
    const tryAll = async (): Promise<void> => {
      for (const [call, attempt] of Object.entries(attempts)) {
        const error: unknown = await (async () => attempt())().then(
          () => undefined,
          (reason: unknown) => reason,
        );
        refused.push([error instanceof InvalidTransactionStateError, call]);
        expect(String((error as Error | undefined)?.message)).toContain(
          `Connection "default" in the context of dbContext.run(): ${call}`,
        );
      }
    };
    const all = Object.keys(attempts).map((call) => [true, call]);
    await dbContext.run(() => session.fork().transactional(tryAll));
    expect(refused.splice(0)).toEqual(all);
    await dbContext.run(() => dbContext.newSession((em) => em.transactional(tryAll)));
    expect(refused.splice(0)).toEqual(all);
    // Its own: the code is in the session of the inner context.
    await dbContext.run(() =>
      session.fork().transactional(() => dbContext.runInNewContext(() => save('inner'))),
    );
    expect(await jobs()).toEqual(['inner']);
  });

  it('F6: the jobs of one commit have one limit together; each error names its job and what to do', async () => {
    const own = await startRedis();
    const other = await startApp({
      connections: [noteConnection(database.url)],
      hookTimeoutMs: 400,
      imports: [
        BullModule.forRoot({ connection: own.connection }),
        DbContextBullModule.registerQueue({ name: 'mail' }, { name: 'post' }),
      ],
      configure: (each) => each.useLogger(log),
    });
    const queues = ['mail', 'post'].map((name) =>
      other.app.get<CommittedQueue<string>>(getCommittedQueueToken(name)),
    );
    try {
      queues.forEach(({ queue }) => queue.on('error', () => undefined));
      await Promise.all(queues.map(({ queue }) => queue.waitUntilReady()));
      await own.stop();
      let addedAt = 0;
      await other.dbContext.run(async () => {
        await other.session().insert(Note, { text: 'saved' });
        for (const each of [...queues, ...queues]) {
          await each.add('saved', 'late', { jobId: `of-${each.name}` });
        }
        addedAt = performance.now();
      });
      expect(performance.now() - addedAt).toBeLessThan(1_000);
      expect(await rows()).toEqual(['saved']);
      const late = (name: string): string =>
        fullMessage(
          'JOB_NOT_SENT',
          `a job is late, or lost: saved (id of-${name}) for the queue "${name}" could not be sent after the ` +
            'commit of dbContext.run() within 400 ms (hookTimeoutMs). The work is saved, and BullMQ goes on ' +
            'trying for as long as this process lives: look whether the queue has the job before you send it ' +
            'again. A job that must not be lost belongs into the same database as the work (an outbox, ' +
            'docs/jobs.md).',
        );
      expect(log.ofLibrary('error')).toEqual([
        late('mail'),
        late('post'),
        late('mail'),
        late('post'),
      ]);
      await own.restart();
      await waitFor(
        async () => {
          const counts = await Promise.all(queues.map(({ queue }) => queue.getWaitingCount()));
          return counts.every((count) => count === 1);
        },
        { what: 'the jobs that BullMQ goes on with' },
      );
    } finally {
      await other.close();
      await own.stop();
    }
  });
});
