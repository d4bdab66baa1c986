import { UniqueConstraintViolationException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { CommitOutcomeUnknownError, PartialCommitError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

interface Side {
  database: TestDatabase;
  proxy: WireProxy;
  session: EntityManager;
  texts(): Promise<string[]>;
}

let app: TestApp;
let left: Side;
let right: Side;
let third: Side;

const names = ['default', 'right', 'third'];

beforeAll(async () => {
  const parts = await Promise.all(
    names.map(async () => {
      const database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      return { database, proxy: await WireProxy.start(database.url) };
    }),
  );
  app = await startApp({
    connections: parts.map(({ proxy }, index) =>
      noteConnection(proxy.url, { name: names[index]!, endTimeoutMs: 1_000 }),
    ),
  });
  const sides = parts.map((part, index): Side => ({
    ...part,
    session: app.session(names[index]),
    texts: async () =>
      (await part.database.query<{ text: string }>('select text from note order by id')).map(
        ({ text }) => text,
      ),
  }));
  [left, right, third] = sides as [Side, Side, Side];
});

afterAll(async () => {
  await app.close();
  for (const side of [left, right, third]) {
    await side.proxy.stop();
    await side.database.drop();
  }
});

beforeEach(async () => {
  for (const side of [left, right, third]) {
    await side.database.query('truncate note');
    side.proxy.reset();
  }
});

afterEach(() => {
  for (const name of names) {
    expect(app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
  }
});

const insert = (side: Side, text: string): Promise<unknown> => side.session.insert(Note, { text });

/** Makes the COMMIT of a session fail: the duplicate is found only then. */
const failAtCommit = async (side: Side): Promise<void> => {
  await side.session.execute('set constraints note_text_unique deferred');
  await insert(side, 'twice');
  await insert(side, 'twice');
};

describe('several connections', () => {
  it('M1: one session per name, committed in the order of their first use', async () => {
    const order: string[] = [];
    const record = (name: string) => (sql: string) => {
      if (sql === 'commit') {
        order.push(name);
      }
    };
    left.proxy.onStatement = record('left');
    right.proxy.onStatement = record('right');
    third.proxy.onStatement = record('third');
    await app.dbContext.run(async () => {
      await insert(right, 'r');
      await insert(third, 't');
      await insert(left, 'l');
      expect(app.dbContext.getSession('right')).toBe(app.dbContext.getSession('right'));
      expect(app.dbContext.getSession('right')).not.toBe(app.dbContext.getSession());
    });
    for (const side of [left, right, third]) {
      side.proxy.onStatement = undefined;
    }
    expect(order).toEqual(['right', 'third', 'left']);
    expect([await left.texts(), await right.texts(), await third.texts()]).toEqual([
      ['l'],
      ['r'],
      ['t'],
    ]);
  });

  it('M1: a flush that fails on the second keeps the first from being committed', async () => {
    await right.database.query(`insert into note (text) values ('taken')`);
    await expect(
      app.dbContext.run(async () => {
        await insert(left, 'first');
        right.session.persist(new Note('taken'));
      }),
    ).rejects.toBeInstanceOf(UniqueConstraintViolationException);
    expect(left.proxy.log).not.toContain('commit');
    expect([await left.texts(), await right.texts()]).toEqual([[], ['taken']]);
  });

  it('M1: what makes a later commit impossible is found before the first COMMIT is sent', async () => {
    await expect(
      app.dbContext.run(async () => {
        await insert(left, 'first');
        await right.session.execute('select 1 / 0').catch(() => undefined);
      }),
    ).rejects.toMatchObject({ code: 'UNEXPECTED_ROLLBACK', connectionName: 'right' });
    expect(left.proxy.log).not.toContain('commit');
    expect(await left.texts()).toEqual([]);
  });

  it('M2: a later commit that fails is a PartialCommitError with each outcome; the rest rolls back', async () => {
    const error = await app.dbContext
      .run(async () => {
        await insert(left, 'committed');
        await failAtCommit(right);
        await insert(third, 'rolled back');
      })
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    expect(error).toBeInstanceOf(PartialCommitError);
    expect(error).toMatchObject({
      code: 'PARTIAL_COMMIT',
      outcomes: [
        { connectionName: 'default', outcome: 'committed' },
        { connectionName: 'right', outcome: 'rolled-back' },
        { connectionName: 'third', outcome: 'rolled-back' },
      ],
    });
    expect((error as PartialCommitError).cause).toBeInstanceOf(UniqueConstraintViolationException);
    expect([await left.texts(), await right.texts(), await third.texts()]).toEqual([
      ['committed'],
      [],
      [],
    ]);
  });

  describe('a connection that has only read is nothing that was saved, where a later commit fails', () => {
    it.each<[string, () => Promise<unknown>]>([
      ['a plain read', () => left.session.find(Note, {})],
      [
        'a read-only transaction',
        async () => {
          await left.session.begin({ readOnly: true });
          await left.session.execute('select reading()');
        },
      ],
    ])('M2: %s', async (_, read) => {
      await left.database.query(
        'create or replace function reading() returns int language sql as $$ select 1 $$',
      );
      await expect(
        app.dbContext.run(async () => {
          await read();
          await failAtCommit(right);
        }),
      ).rejects.toBeInstanceOf(UniqueConstraintViolationException);
      expect(left.proxy.log).toContain('commit');
      expect(await right.texts()).toEqual([]);
    });

    it('M2: but code that hides behind the name of a function may have written', async () => {
      await left.database.query(
        `create or replace function writing() returns int language sql as
         $$ insert into note (text) values ('hidden') returning id $$`,
      );
      await expect(
        app.dbContext.run(async () => {
          await left.session.execute('select writing()');
          await failAtCommit(right);
        }),
      ).rejects.toMatchObject({
        constructor: PartialCommitError,
        outcomes: [
          { connectionName: 'default', outcome: 'committed' },
          { connectionName: 'right', outcome: 'rolled-back' },
        ],
      });
      expect(await left.texts()).toEqual(['hidden']);
    });

    it('M2: nor has a part been saved early', async () => {
      await expect(
        app.dbContext.run(async () => {
          await left.session.find(Note, {});
          await failAtCommit(right);
          await app.dbContext.commitAll();
        }),
      ).rejects.toBeInstanceOf(UniqueConstraintViolationException);
    });

    it('M2: one that has written before it makes it a PartialCommitError all the same', async () => {
      await expect(
        app.dbContext.run(async () => {
          await insert(left, 'saved');
          await third.session.find(Note, {});
          await failAtCommit(right);
        }),
      ).rejects.toMatchObject({ constructor: PartialCommitError });
      expect(await left.texts()).toEqual(['saved']);
    });
  });

  it('M2: when the first commit fails nothing is committed, and its error is the one reported', async () => {
    await expect(
      app.dbContext.run(async () => {
        await failAtCommit(left);
        await insert(right, 'rolled back');
      }),
    ).rejects.toBeInstanceOf(UniqueConstraintViolationException);
    expect([await left.texts(), await right.texts()]).toEqual([[], []]);
  });

  it('M2: a lost answer is unknown in the outcomes, and the rest is rolled back', async () => {
    right.proxy.dropAnswerTo(/^commit/);
    const error = await app.dbContext
      .run(async () => {
        await insert(left, 'committed');
        await insert(right, 'saved, but its commit is unknown');
        await insert(third, 'rolled back');
      })
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      constructor: PartialCommitError,
      cause: { constructor: CommitOutcomeUnknownError },
      outcomes: [{ outcome: 'committed' }, { outcome: 'unknown' }, { outcome: 'rolled-back' }],
    });
    expect(await third.texts()).toEqual([]);
  });

  it('M2: all rollbacks are attempted when the connections of some are gone', async () => {
    await expect(
      app.dbContext.run(async () => {
        await insert(left, 'a');
        await insert(right, 'b');
        await insert(third, 'c');
        left.proxy.cut();
        right.proxy.cut();
        throw new Error('the handler failed');
      }),
    ).rejects.toThrow('the handler failed');
    expect(third.proxy.log.at(-1)).toBe('rollback');
    expect([await left.texts(), await right.texts(), await third.texts()]).toEqual([[], [], []]);
  });

  it('C6: nested transactions of two databases do not hide one another', async () => {
    await app.dbContext.run(async () => {
      await left.session.transactional(async () => {
        await right.session
          .transactional(async () => {
            await insert(left, 'left');
            await insert(right, 'right');
            throw new Error('right');
          })
          .catch(() => undefined);
      });
    });
    expect([await left.texts(), await right.texts()]).toEqual([['left'], []]);
  });
});
