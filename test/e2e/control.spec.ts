import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContextNotActiveError,
  InvalidTransactionStateError,
  UnknownConnectionError,
} from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import type { TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const shared = useWorld();
const { run, insert, xid } = shared;
let world: TestWorld;
let session: EntityManager;

beforeAll(() => {
  ({ world, session } = shared);
});
const ends = (): string[] =>
  world.proxy.log.filter((sql) => /^(begin|commit|rollback|savepoint|release)/.test(sql));

/** Runs a callback in a context that then fails, so that only what was committed early is kept. */
async function runAndFail(callback: () => Promise<unknown>): Promise<void> {
  await expect(
    run(async () => {
      await callback();
      throw new Error('the context');
    }),
  ).rejects.toThrow('the context');
}

describe('atomic() with no transaction open', () => {
  it.each(['commit', 'rollback', 'append', 'raise'] as const)(
    'C2: %s commits what the block did, and returns its result',
    async (current) => {
      await runAndFail(async () => {
        const result = await world.dbContext.atomic(
          async (em: EntityManager) => {
            await em.insert(Note, { text: 'by the session' });
            session.persist(new Note('persisted'));
            return 'result';
          },
          { current },
        );
        expect(result).toBe('result');
        expect(world.pool().checkedOut).toBe(0);
      });
      expect(await world.savedTexts()).toEqual(['by the session', 'persisted']);
      expect(ends()).toEqual(['begin', 'commit']);
    },
  );

  it.each(['commit', 'rollback', 'append', 'raise', 'savepoint'] as const)(
    'C2: %s rolls back what a block that throws did, and rethrows its error as it is',
    async (current) => {
      const error = new Error('the block');
      await run(async () => {
        await expect(
          world.dbContext.atomic(
            async () => {
              await insert('undone');
              throw error;
            },
            { current },
          ),
        ).rejects.toBe(error);
        await insert('kept');
      });
      expect(await world.savedTexts()).toEqual(['kept']);
    },
  );
});

describe('atomic() with a transaction open', () => {
  it('C2: commit commits it and begins anew', async () => {
    await runAndFail(async () => {
      await insert('before');
      const before = await xid();
      await world.dbContext.atomic(async () => {
        expect(await xid()).not.toBe(before);
        await insert('inside');
      });
    });
    expect(await world.savedTexts()).toEqual(['before', 'inside']);
    expect(ends()).toEqual(['begin', 'commit', 'begin', 'commit']);
  });

  it('C2: commit keeps it, also when the block throws', async () => {
    await run(async () => {
      await insert('before');
      await expect(
        world.dbContext.atomic(async () => {
          await insert('undone');
          throw new Error('the block');
        }),
      ).rejects.toThrow('the block');
    });
    expect(await world.savedTexts()).toEqual(['before']);
  });

  it('C2: rollback undoes it and begins anew', async () => {
    await run(async () => {
      session.persist(new Note('only persisted'));
      await insert('before');
      await world.dbContext.atomic(() => insert('inside'), { current: 'rollback' });
    });
    expect(await world.savedTexts()).toEqual(['inside']);
    expect(ends()).toEqual(['begin', 'rollback', 'begin', 'commit']);
  });

  it('C2: append goes on in it, and commits the whole', async () => {
    await runAndFail(async () => {
      await insert('before');
      const before = await xid();
      await world.dbContext.atomic(
        async () => {
          expect(await xid()).toBe(before);
          await insert('inside');
        },
        { current: 'append' },
      );
    });
    expect(await world.savedTexts()).toEqual(['before', 'inside']);
    expect(ends()).toEqual(['begin', 'commit']);
  });

  it('C2: append rolls the whole back when the block throws', async () => {
    await run(async () => {
      await insert('before');
      await world.dbContext
        .atomic(
          async () => {
            await insert('inside');
            throw new Error('the block');
          },
          { current: 'append' },
        )
        .catch(() => undefined);
    });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C2: raise throws, and leaves it as it is', async () => {
    await run(async () => {
      await insert('before');
      await expect(
        world.dbContext.atomic(() => insert('never'), { current: 'raise' }),
      ).rejects.toBeInstanceOf(InvalidTransactionStateError);
    });
    expect(await world.savedTexts()).toEqual(['before']);
  });

  it('C2: savepoint undoes only the block, and leaves the end to the context', async () => {
    await run(async () => {
      await insert('before');
      await world.dbContext
        .atomic(
          async () => {
            await insert('undone');
            throw new Error('the block');
          },
          { current: 'savepoint' },
        )
        .catch(() => undefined);
      await world.dbContext.atomic(() => insert('inside'), { current: 'savepoint' });
      expect(world.proxy.log).not.toContain('commit');
    });
    expect(await world.savedTexts()).toEqual(['before', 'inside']);
  });
});

describe('atomic() blocks among themselves', () => {
  it('C2: three parallel savepoints, the middle one failing: the other two are saved', async () => {
    await run(async () => {
      const blocks = await Promise.allSettled(
        ['a', 'b', 'c'].map((text) =>
          world.dbContext.atomic(
            async () => {
              await insert(text);
              if (text === 'b') {
                throw new Error('the middle one');
              }
            },
            { current: 'savepoint' },
          ),
        ),
      );
      expect(blocks.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    });
    expect((await world.savedTexts()).toSorted()).toEqual(['a', 'c']);
  });

  it('C2: parallel blocks of one session take turns, and do not commit one another', async () => {
    const [, failed] = await run(() =>
      Promise.allSettled(
        ['a', 'b', 'c'].map((text) =>
          world.dbContext.atomic(async () => {
            await insert(text);
            await session.execute('select pg_sleep(0.005)');
            if (text === 'b') {
              throw new Error('the middle one');
            }
          }),
        ),
      ),
    );
    expect(failed).toMatchObject({ status: 'rejected' });
    expect((await world.savedTexts()).toSorted()).toEqual(['a', 'c']);
  });

  it('C2: a block inside of a block', async () => {
    await runAndFail(() =>
      world.dbContext.atomic(async () => {
        await insert('outer');
        await world.dbContext
          .atomic(
            async () => {
              await insert('inner');
              throw new Error('inner');
            },
            { current: 'savepoint' },
          )
          .catch(() => undefined);
        await world.dbContext.atomic(() => insert('appended'), { current: 'append' });
        await insert('after');
      }),
    );
    expect(await world.savedTexts()).toEqual(['outer', 'appended', 'after']);
  });

  it('C2: inside em.transactional() only a savepoint fits', async () => {
    await run(() =>
      session.transactional(async () => {
        await expect(world.dbContext.atomic(() => insert('never'))).rejects.toBeInstanceOf(
          InvalidTransactionStateError,
        );
        await world.dbContext.atomic(() => insert('inside'), { current: 'savepoint' });
      }),
    );
    expect(await world.savedTexts()).toEqual(['inside']);
  });

  it('C7: an isolation level and read-only mode for one block', async () => {
    await run(async () => {
      await world.dbContext.atomic(
        async (em: EntityManager) => {
          expect(await em.execute('show transaction_isolation')).toEqual([
            { transaction_isolation: 'serializable' },
          ]);
          await expect(insert('never')).rejects.toMatchObject({ code: '25006' });
          throw new Error('undo');
        },
        { isolationLevel: 'serializable', readOnly: true },
      );
    }).catch((error: Error) => expect(error.message).toBe('undo'));
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C2: outside any context it says how to open one', async () => {
    await expect(world.dbContext.atomic(() => insert('never'))).rejects.toBeInstanceOf(
      DbContextNotActiveError,
    );
  });
});

describe('runInNewContext()', () => {
  it('C3: has its own transaction, and commits although the outer one rolls back', async () => {
    await runAndFail(async () => {
      await insert('outer');
      const outer = await xid();
      await world.dbContext.runInNewContext(async () => {
        expect(await xid()).not.toBe(outer);
        await insert('inner');
        expect(world.pool().checkedOut).toBe(2);
      });
      expect(await xid()).toBe(outer);
      expect(world.pool().checkedOut).toBe(1);
    });
    expect(await world.savedTexts()).toEqual(['inner']);
  });

  it('C3: rolls back by itself, and the outer one commits', async () => {
    await run(async () => {
      await insert('outer');
      await world.dbContext
        .runInNewContext(async () => {
          await insert('inner');
          throw new Error('inner');
        })
        .catch(() => undefined);
    });
    expect(await world.savedTexts()).toEqual(['outer']);
  });

  it.each([
    ['em.transactional()', (inner: () => Promise<void>) => session.transactional(inner)],
    ['atomic()', (inner: () => Promise<void>) => world.dbContext.atomic(inner)],
    [
      'a transaction of a plain fork',
      (inner: () => Promise<void>) => world.connection().orm.em.fork().transactional(inner),
    ],
  ])('C3: inside %s it does not pick up the outer transaction', async (_, transaction) => {
    await runAndFail(async () => {
      const outer = await xid();
      await transaction(async () => {
        await world.dbContext.runInNewContext(async () => {
          expect(await xid()).not.toBe(outer);
          await insert('inner');
        });
        throw new Error('undo the outer one');
      }).catch(() => undefined);
    });
    expect(await world.savedTexts()).toEqual(['inner']);
  });

  it('C3: works without an outer context', async () => {
    await world.dbContext.runInNewContext(() => insert('alone'));
    expect(await world.savedTexts()).toEqual(['alone']);
  });

  it('C3: several at once run on connections of their own', async () => {
    const together = deferred();
    let arrived = 0;
    const xids = await run(() =>
      Promise.all(
        [1, 2, 3].map(() =>
          world.dbContext.runInNewContext(async () => {
            const own = await xid();
            if (++arrived === 3) {
              together.resolve();
            }
            await together.promise;
            return own;
          }),
        ),
      ),
    );
    expect(new Set(xids).size).toBe(3);
  });
});

describe('sessions outside the context', () => {
  it('C4: newSession() keeps only what is committed in it, and closes', async () => {
    await runAndFail(() =>
      world.dbContext.newSession(async (em: EntityManager) => {
        await em.insert(Note, { text: 'kept' });
        expect(await xid(em)).not.toBe(await xid());
        await em.commit();
        await em.insert(Note, { text: 'undone' });
      }),
    );
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('C4: newAtomicSession() commits, or rolls back and rethrows', async () => {
    const result = await world.dbContext.newAtomicSession(async (em: EntityManager) => {
      em.persist(new Note('kept'));
      return 'result';
    });
    expect(result).toBe('result');
    const error = new Error('the block');
    await expect(
      world.dbContext.newAtomicSession(async (em: EntityManager) => {
        await em.insert(Note, { text: 'undone' });
        throw error;
      }),
    ).rejects.toBe(error);
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('C4: an unknown connection is named', async () => {
    await expect(
      world.dbContext.newSession(() => undefined, { connection: 'nope' }),
    ).rejects.toBeInstanceOf(UnknownConnectionError);
  });
});
