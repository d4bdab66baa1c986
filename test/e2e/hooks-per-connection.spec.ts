import { UniqueConstraintViolationException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Injectable, Post } from '@nestjs/common';
import {
  CommitOutcomeUnknownError,
  DbContext,
  InjectSession,
  PartialCommitError,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

/** Each hook that ran: its kind, and what it was bound to. */
const calls: string[] = [];

/** What a request does with the three databases, and with their hooks. */
@Injectable()
class Work {
  constructor(
    @InjectSession('a') readonly a: EntityManager,
    @InjectSession('b') readonly b: EntityManager,
    @InjectSession('c') readonly c: EntityManager,
    readonly dbContext: DbContext,
  ) {}

  /** Binds a hook of each kind to each of the connections, and to the context. */
  addHooks(...names: readonly string[]): void {
    const record = (what: string) => () => void calls.push(what);
    for (const connection of names) {
      this.dbContext.onCommit(record(`onCommit of ${connection}`), { connection });
      this.dbContext.onRollback(record(`onRollback of ${connection}`), { connection });
    }
    this.dbContext.onCommit(record('onCommit of the context'));
    this.dbContext.onRollback(record('onRollback of the context'));
  }

  /** Writes into a and b, so that they commit in this order. */
  async writeBoth(): Promise<void> {
    await this.a.insert(Note, { text: 'in a' });
    await this.b.insert(Note, { text: 'in b' });
    this.addHooks('a', 'b');
  }

  /** Reads from a and writes into b, so that they commit in this order. */
  async readAndWrite(): Promise<void> {
    await this.a.find(Note, {});
    await this.b.insert(Note, { text: 'in b' });
    this.addHooks('a', 'b');
  }

  /** Writes into a, then into b, then into c, so that they commit in this order. */
  async writeAll(): Promise<void> {
    await this.a.insert(Note, { text: 'in a' });
    await this.b.insert(Note, { text: 'in b' });
    await this.c.insert(Note, { text: 'in c' });
    this.addHooks('a', 'b', 'c');
  }

  /** Makes the COMMIT of b fail: the server looks for the duplicate only then. */
  async failAtCommitOfB(): Promise<void> {
    await this.b.execute('set constraints note_text_unique deferred');
    await this.b.insert(Note, { text: 'in b' });
  }
}

@Controller()
class WorkController {
  constructor(private readonly work: Work) {}

  @Post('written')
  async written(): Promise<void> {
    await this.work.writeBoth();
  }

  @Post('fails-at-commit')
  async failsAtCommit(): Promise<void> {
    await this.work.writeBoth();
    await this.work.failAtCommitOfB();
  }
}

describe.each<AdapterName>(['express', 'fastify'])(
  'hooks of several connections (%s)',
  (adapter) => {
    const databases = new Map<string, TestDatabase>();
    const proxies = new Map<string, WireProxy>();
    let app: TestApp;
    let work: Work;

    beforeAll(async () => {
      await Promise.all(
        ['a', 'b', 'c'].map(async (name) => {
          const database = await createTestDatabase();
          await database.query(NOTE_SCHEMA);
          databases.set(name, database);
          proxies.set(name, await WireProxy.start(database.url));
        }),
      );
      app = await startApp({
        adapter,
        connections: ['a', 'b', 'c'].map((name) =>
          noteConnection(proxies.get(name)!.url, { name, endTimeoutMs: 1_000 }),
        ),
        controllers: [WorkController],
        providers: [Work],
      });
      work = app.app.get(Work);
    });

    afterAll(async () => {
      await app.close();
      for (const proxy of proxies.values()) {
        await proxy.stop();
      }
      for (const database of databases.values()) {
        await database.drop();
      }
    });

    beforeEach(async () => {
      calls.length = 0;
      for (const database of databases.values()) {
        await database.query('truncate note restart identity');
      }
    });

    afterEach(() => {
      for (const name of databases.keys()) {
        expect(app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
      }
    });

    const textsOf = async (name: string): Promise<string[]> =>
      (await databases.get(name)!.query<{ text: string }>('select text from note order by id')).map(
        ({ text }) => text,
      );
    /** Runs a callback in a context, and returns what was thrown. */
    const errorOf = (callback: () => Promise<unknown>): Promise<unknown> =>
      app.dbContext.run(callback).then(
        () => undefined,
        (error: unknown) => error,
      );
    /** Which hooks ran; the order among connections is not promised. */
    const ran = (): string[] => calls.toSorted();

    describe('at the end of the context', () => {
      it('C5: all of it is committed: each onCommit runs once, in the order of registration', async () => {
        await app.dbContext.run(() => work.writeBoth());
        expect(calls).toEqual(['onCommit of a', 'onCommit of b', 'onCommit of the context']);
      });

      it('C5, M2: a is committed and the COMMIT of b fails', async () => {
        const error = await errorOf(async () => {
          await work.writeBoth();
          await work.failAtCommitOfB();
        });
        expect(error).toMatchObject({
          constructor: PartialCommitError,
          cause: { constructor: UniqueConstraintViolationException },
          outcomes: [
            { connectionName: 'a', outcome: 'committed' },
            { connectionName: 'b', outcome: 'rolled-back' },
          ],
        });
        expect(ran()).toEqual(['onCommit of a', 'onRollback of b', 'onRollback of the context']);
        expect([await textsOf('a'), await textsOf('b')]).toEqual([['in a'], []]);
      });

      it('C5, M2: a has only read and the COMMIT of b fails: nothing is saved, and no onCommit runs', async () => {
        const error = await errorOf(async () => {
          await work.readAndWrite();
          await work.failAtCommitOfB();
        });
        expect(error).toBeInstanceOf(UniqueConstraintViolationException);
        expect(ran()).toEqual(['onRollback of a', 'onRollback of b', 'onRollback of the context']);
      });

      it('C5, M2: a is committed, the COMMIT of b fails, and c is rolled back', async () => {
        await errorOf(async () => {
          await work.writeAll();
          await work.failAtCommitOfB();
        });
        expect(ran()).toEqual([
          'onCommit of a',
          'onRollback of b',
          'onRollback of c',
          'onRollback of the context',
        ]);
        expect([await textsOf('a'), await textsOf('b'), await textsOf('c')]).toEqual([
          ['in a'],
          [],
          [],
        ]);
      });

      it('C5, M2: a is committed and the answer of b is lost', async () => {
        proxies.get('b')!.dropAnswerTo(/^commit/);
        const error = await errorOf(() => work.writeBoth());
        expect(error).toMatchObject({
          constructor: PartialCommitError,
          cause: { constructor: CommitOutcomeUnknownError },
          outcomes: [
            { connectionName: 'a', outcome: 'committed' },
            { connectionName: 'b', outcome: 'unknown' },
          ],
        });
        expect(ran()).toEqual(['onCommit of a']);
      });

      it('C5, M2: a is committed, the answer of b is lost, and c is rolled back', async () => {
        proxies.get('b')!.dropAnswerTo(/^commit/);
        await errorOf(() => work.writeAll());
        expect(ran()).toEqual(['onCommit of a', 'onRollback of c']);
        expect([await textsOf('a'), await textsOf('c')]).toEqual([['in a'], []]);
      });

      it('C5, M2: the answer of the first is lost, and the second is rolled back', async () => {
        proxies.get('a')!.dropAnswerTo(/^commit/);
        expect(await errorOf(() => work.writeBoth())).toMatchObject({
          constructor: CommitOutcomeUnknownError,
          connectionName: 'a',
        });
        expect(ran()).toEqual(['onRollback of b']);
        expect(await textsOf('b')).toEqual([]);
      });

      it('C5: the hooks of a connection that was committed early are not run a second time', async () => {
        let early: readonly string[] = [];
        await errorOf(async () => {
          await work.writeBoth();
          await app.dbContext.commit('a');
          early = ran();
          await work.failAtCommitOfB();
        });
        expect(early).toEqual(['onCommit of a']);
        expect(ran()).toEqual(['onCommit of a', 'onRollback of b', 'onRollback of the context']);
      });
    });

    describe('at commitAll()', () => {
      it('C5, M2: a is committed and the COMMIT of b fails', async () => {
        const error = await errorOf(async () => {
          await work.writeBoth();
          await work.failAtCommitOfB();
          await app.dbContext.commitAll();
        });
        expect(error).toMatchObject({
          constructor: PartialCommitError,
          outcomes: [
            { connectionName: 'a', outcome: 'committed' },
            { connectionName: 'b', outcome: 'rolled-back' },
          ],
        });
        expect(ran()).toEqual(['onCommit of a', 'onRollback of b', 'onRollback of the context']);
        expect([await textsOf('a'), await textsOf('b')]).toEqual([['in a'], []]);
      });

      it('C5, M2: the hooks of the connections have run by the time that commitAll() rejects', async () => {
        let early: readonly string[] = [];
        const error = await errorOf(async () => {
          await work.writeAll();
          await work.failAtCommitOfB();
          try {
            await app.dbContext.commitAll();
          } finally {
            early = ran().filter((call) => !call.endsWith('of the context'));
          }
        });
        expect(error).toMatchObject({ code: 'PARTIAL_COMMIT' });
        expect(early).toEqual(['onCommit of a', 'onRollback of b', 'onRollback of c']);
      });

      it('C5, M2: a is committed and the answer of b is lost', async () => {
        proxies.get('b')!.dropAnswerTo(/^commit/);
        const error = await errorOf(async () => {
          await work.writeBoth();
          await app.dbContext.commitAll();
        });
        expect(error).toMatchObject({
          constructor: PartialCommitError,
          cause: { constructor: CommitOutcomeUnknownError },
        });
        expect(ran()).toEqual(['onCommit of a']);
      });

      it('C5, M2: a is committed, the answer of b is lost, and c is rolled back', async () => {
        proxies.get('b')!.dropAnswerTo(/^commit/);
        await errorOf(async () => {
          await work.writeAll();
          await app.dbContext.commitAll();
        });
        expect(ran()).toEqual(['onCommit of a', 'onRollback of c']);
      });
    });

    describe('where everything is rolled back', () => {
      const ALL = ['onRollback of a', 'onRollback of b', 'onRollback of the context'];

      it('C5: because the work throws', async () => {
        const error = new Error('the work');
        expect(
          await errorOf(async () => {
            await work.writeBoth();
            throw error;
          }),
        ).toBe(error);
        expect(calls).toEqual(ALL);
      });

      it('C5: because commitOn says so', async () => {
        await app.dbContext.run(() => work.writeBoth(), { commitOn: () => false });
        expect(calls).toEqual(ALL);
      });

      it('C5, M1: because the flush of the second one fails, before any COMMIT', async () => {
        await databases.get('b')!.query(`insert into note (text) values ('taken')`);
        const error = await errorOf(async () => {
          await work.writeBoth();
          work.b.persist(new Note('taken'));
        });
        expect(error).toBeInstanceOf(UniqueConstraintViolationException);
        expect(ran()).toEqual(ALL);
      });

      it('C5, M1: because the COMMIT of the first one fails', async () => {
        const error = await errorOf(async () => {
          await work.b.insert(Note, { text: 'in b' });
          await work.a.insert(Note, { text: 'in a' });
          await work.failAtCommitOfB();
          work.addHooks('a', 'b');
        });
        expect(error).toBeInstanceOf(UniqueConstraintViolationException);
        expect(ran()).toEqual(ALL);
        expect([await textsOf('a'), await textsOf('b')]).toEqual([[], []]);
      });

      it('C5: by rollbackAll(), once', async () => {
        await app.dbContext.run(async () => {
          await work.writeBoth();
          await app.dbContext.rollbackAll();
          expect(ran()).toEqual(ALL);
        });
        expect(ran()).toEqual(ALL);
      });
    });

    describe('of a request', () => {
      it('C5, S1: a is committed and the COMMIT of b fails', async () => {
        expect((await app.fetch('/fails-at-commit', { method: 'POST' })).status).toBe(500);
        expect(ran()).toEqual(['onCommit of a', 'onRollback of b', 'onRollback of the context']);
        expect([await textsOf('a'), await textsOf('b')]).toEqual([['in a'], []]);
      });

      it('C5, S1: a is committed and the answer of b is lost', async () => {
        proxies.get('b')!.dropAnswerTo(/^commit/);
        expect((await app.fetch('/written', { method: 'POST' })).status).toBe(500);
        expect(ran()).toEqual(['onCommit of a']);
      });
    });
  },
);
