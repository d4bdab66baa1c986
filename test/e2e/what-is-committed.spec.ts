import type { EntityManager } from '@mikro-orm/postgresql';
import { UnexpectedRollbackError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const NAMES = ['first', 'second'] as const;

let app: TestApp;
let databases: readonly TestDatabase[];

beforeAll(async () => {
  databases = await Promise.all(NAMES.map(() => createTestDatabase()));
  await Promise.all(databases.map((each) => each.query(NOTE_SCHEMA)));
  app = await startApp({
    connections: NAMES.map((name, index) => noteConnection(databases[index]!.url, { name })),
  });
});
afterAll(async () => {
  await app.close();
  await Promise.all(databases.map((each) => each.drop()));
});
beforeEach(() => Promise.all(databases.map((each) => each.query('truncate note'))));
afterEach(() => {
  for (const name of NAMES) {
    expect(app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
  }
});

const saved = (): Promise<number[]> =>
  Promise.all(
    databases.map(async (each) => (await each.query('select text from note order by id')).length),
  );

/** Each of them takes the work of a session away from a commit. */
const ENDINGS: Record<string, (name: string) => Promise<unknown>> = {
  'dbContext.close()': (name) => app.dbContext.close(name),
  'dbContext.rollback()': (name) => app.dbContext.rollback(name),
  'session.rollback()': (name) => app.session(name).rollback(),
  'dbContext.popSession()': async (name) => {
    // It is taken out in silence, and is then for the one who took it to end.
    await app.dbContext.popSession(name)?.rollback();
  },
};

const unexpected = (connectionName: string): object => ({
  code: 'UNEXPECTED_ROLLBACK',
  connectionName,
  reason: 'ended-meanwhile',
});

describe.each(Object.entries(ENDINGS))('%s by a branch that nobody awaits', (_, end) => {
  /** Runs `end` on the first session, while the flush of the second one is under way. */
  async function endDuringFlush(commit: (() => Promise<void>) | undefined): Promise<string[]> {
    const [flushing, ended] = [deferred(), deferred()];
    const hooks: string[] = [];
    const run = app.dbContext.run(async () => {
      const [first, second] = NAMES.map((name) => app.session(name).getContext(false)) as [
        EntityManager,
        EntityManager,
      ];
      second.getEventManager().registerSubscriber({
        beforeCreate: async () => {
          flushing.resolve();
          await ended.promise;
        },
      });
      app.dbContext.onCommit(() => hooks.push('onCommit'));
      app.dbContext.onRollback(() => hooks.push('onRollback'));
      await first.insert(Note, { text: 'first' });
      second.persist(new Note('second'));
      void flushing.promise.then(() => end('first')).then(() => ended.resolve(), ended.reject);
      await commit?.();
    });
    const error: unknown = await run.catch((each: unknown) => each);
    expect(error).toBeInstanceOf(UnexpectedRollbackError);
    expect(error).toMatchObject(unexpected('first'));
    await ended.promise;
    return hooks;
  }

  it('S1, M1: while a later session is flushed by the end, nothing is committed', async () => {
    expect(await endDuringFlush(undefined)).toEqual(['onRollback']);
    expect(await saved()).toEqual([0, 0]);
  });

  it('M1, C1: while a later session is flushed by commitAll(), nothing is committed', async () => {
    await endDuringFlush(() => app.dbContext.commitAll());
    expect(await saved()).toEqual([0, 0]);
  });

  it.each(NAMES)(
    'C5: in a beforeCommit hook it is the reason why nothing is committed (%s)',
    async (name) => {
      let ended: Promise<unknown> | undefined;
      const run = app.dbContext.run(async () => {
        for (const each of NAMES) {
          await app.session(each).insert(Note, { text: each });
        }
        app.dbContext.beforeCommit(async () => {
          ended = end(name);
          await ended;
        });
      });
      await expect(run).rejects.toMatchObject({
        ...unexpected(name),
        message: expect.stringContaining(
          'by a beforeCommit hook or by a branch that nobody awaits',
        ) as string,
      });
      expect(await saved()).toEqual([0, 0]);
      await ended;
    },
  );

  it('S1: at any moment of the end, only saved work is answered with a success', async () => {
    const outcomes = new Set<string>();
    for (let turns = 0; turns < 40; turns++) {
      await databases[0]!.query('truncate note');
      const branch = async (): Promise<void> => {
        for (let turn = 0; turn < turns; turn++) {
          // What waits for promises alone is over before the gate shuts; the rest goes on while the server answers.
          await (turns % 2 === 0 ? Promise.resolve() : new Promise(setImmediate));
        }
        await end('first');
      };
      let ended: Promise<unknown> | undefined;
      const result = await app.dbContext
        .run(async () => {
          await app.session('first').insert(Note, { text: 'row' });
          app.dbContext.beforeCommit(() => {
            ended = branch().catch((error: unknown) => error);
          });
        })
        .then(
          () => 'committed',
          () => 'rolled back',
        );
      await ended;
      const rows = (await saved())[0];
      outcomes.add(`${result}: ${rows}`);
    }
    expect([...outcomes].toSorted()).toEqual(['committed: 1', 'rolled back: 0']);
  });
});
