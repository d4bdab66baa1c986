import { inspect } from 'node:util';

import { UniqueConstraintViolationException, type TransactionEventArgs } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContextNotActiveError,
  InvalidTransactionStateError,
  SessionClosedError,
  TransactionAbortedError,
  UnexpectedRollbackError,
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

describe('outside and after a context', () => {
  it('S5: use outside any context throws and says how to open one', async () => {
    await expect(insert('outside')).rejects.toBeInstanceOf(DbContextNotActiveError);
    await expect(insert('outside')).rejects.toThrow(/dbContext\.run\(/);
    expect(() => session.persist(new Note('outside'))).toThrow(DbContextNotActiveError);
    expect(() => world.dbContext.session()).toThrow(DbContextNotActiveError);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S5: work that nobody awaited throws SessionClosedError and writes nothing', async () => {
    const settled = deferred();
    const managers: EntityManager[] = [];
    const late: Promise<unknown>[] = [];
    await run(async () => {
      await insert('awaited');
      managers.push(world.dbContext.getSession()!);
      const afterwards = async (work: () => Promise<unknown>): Promise<unknown> => {
        await settled.promise;
        return work();
      };
      late.push(
        afterwards(() => insert('late')),
        afterwards(() => managers[0]!.insert(Note, { text: 'late, by the session itself' })),
        afterwards(() => managers[0]!.find(Note, {})),
        afterwards(() =>
          managers[0]!.getKysely<{ note: Note }>().selectFrom('note').selectAll().execute(),
        ),
        afterwards(() => world.dbContext.commit()),
      );
    });
    settled.resolve();
    expect(await Promise.allSettled(late)).toEqual(
      Array.from({ length: 5 }, () => ({
        status: 'rejected',
        reason: expect.objectContaining({
          constructor: SessionClosedError,
          code: 'SESSION_CLOSED',
        }),
      })),
    );
    expect(await world.savedTexts()).toEqual(['awaited']);
    expect(world.proxy.log.filter((sql) => sql.startsWith('insert'))).toHaveLength(1);
  });

  it('is printed without a context', () => {
    expect(inspect(session)).toBe('[Session<default>]');
  });
});

describe('rollback', () => {
  it('S7: the identity map is cleared, so what was never saved is not found again', async () => {
    await run(async () => {
      const note = new Note('never saved');
      session.persist(note);
      await session.flush();
      const { id } = note;
      expect(await session.findOne(Note, id)).toBe(note);
      await session.rollback();
      expect(session.getUnitOfWork().getIdentityMap().values()).toEqual([]);
      expect(await session.findOne(Note, id)).toBeNull();
    });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S2: what run() throws rolls back and is rethrown as it is', async () => {
    const error = new Error('the handler failed');
    await expect(
      run(async () => {
        await insert('undone');
        throw error;
      }),
    ).rejects.toBe(error);
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('joining', () => {
  it('S8: run() inside a context joins it and settles nothing', async () => {
    await expect(
      run(async () => {
        const outer = await xid();
        await run(async () => {
          expect(await xid()).toBe(outer);
          await insert('inner');
        });
        expect(world.proxy.log).not.toContain('commit');
        throw new Error('outer');
      }),
    ).rejects.toThrow('outer');
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('taking over', () => {
  it('C1: commits early, and the next statement begins anew by itself', async () => {
    await expect(
      run(async () => {
        session.persist(new Note('kept'));
        const before = await xid();
        await session.commit();
        expect(await world.savedTexts()).toEqual(['kept']);
        expect(world.pool().checkedOut).toBe(0);
        await insert('undone');
        expect(await xid()).not.toBe(before);
        throw new Error('after the commit');
      }),
    ).rejects.toThrow('after the commit');
    expect(await world.savedTexts()).toEqual(['kept']);
    const ends = world.proxy.log.filter((sql) => /^(begin|commit|rollback)/.test(sql));
    expect(ends).toEqual(['begin', 'commit', 'begin', 'rollback']);
  });

  it('C1: rolls back early through dbContext, and goes on', async () => {
    await run(async () => {
      await insert('undone');
      await world.dbContext.rollback();
      expect(world.pool().checkedOut).toBe(0);
      await insert('kept');
    });
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('C1: closes early and frees the connection; the next use makes a new session', async () => {
    await run(async () => {
      await insert('undone');
      const before = world.dbContext.getSession();
      await world.dbContext.close();
      expect(world.pool().checkedOut).toBe(0);
      await insert('kept');
      expect(world.dbContext.getSession()).not.toBe(before);
    });
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('C1: the ...All forms do so for every session', async () => {
    await run(async () => {
      await insert('kept');
      await world.dbContext.commitAll();
      await insert('undone');
      await world.dbContext.rollbackAll();
      await insert('undone, too');
      await world.dbContext.closeAll();
      await insert('kept, too');
    });
    expect(await world.savedTexts()).toEqual(['kept', 'kept, too']);
  });

  it('C1: commit() where nothing has begun is no work, and changes nothing', async () => {
    await run(async () => {
      await world.dbContext.commit();
      await session.commit();
      await session.rollback();
    });
    expect(world.proxy.log).toEqual([]);
  });

  it('C6: begin() begins at once, with its options, and only once', async () => {
    await run(async () => {
      await session.begin({ isolationLevel: 'serializable' as never, readOnly: true });
      expect(world.proxy.log).toEqual(['begin isolation level serializable read only']);
      await expect(session.begin()).rejects.toBeInstanceOf(InvalidTransactionStateError);
      await session.commit();
      await session.begin();
      await insert('kept');
      await session.commit();
    });
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('puts and pops the session of a context, for transports of your own', async () => {
    let popped: EntityManager | undefined;
    await run(async () => {
      await insert('not settled by the context');
      popped = world.dbContext.popSession();
      expect(world.dbContext.getSession()).toBeUndefined();
    });
    expect(await world.savedTexts()).toEqual([]);
    await run(async () => {
      world.dbContext.putSession(popped!);
      world.dbContext.putSession(popped!);
      expect(world.dbContext.getSession()).toBe(popped);
      expect(() => world.dbContext.putSession(world.connection().orm.em.fork())).toThrow(
        InvalidTransactionStateError,
      );
      await insert('by the handle');
    });
    expect(await world.savedTexts()).toEqual(['not settled by the context', 'by the handle']);
    await run(async () => {
      const fork = world.connection().orm.em.fork() as EntityManager;
      world.dbContext.putSession(fork);
      fork.persist(new Note('by a plain fork'));
    });
    expect(await world.savedTexts()).toContain('by a plain fork');
  });
});

describe('nested transactions', () => {
  it('C6: em.transactional() sets a savepoint; its failure undoes only its own work', async () => {
    await run(async () => {
      await insert('before');
      const outer = await xid();
      await expect(
        session.transactional(async () => {
          await insert('inside');
          expect(await xid()).toBe(outer);
          throw new Error('inner');
        }),
      ).rejects.toThrow('inner');
      await session.transactional(async (em) => {
        em.persist(new Note('second'));
        await session.transactional(async () => {
          await insert('third');
        });
      });
      await insert('after');
    });
    // `second` was only persisted, and is written before the savepoint of `third`
    expect(await world.savedTexts()).toEqual(['before', 'second', 'third', 'after']);
  });

  it('F5: parallel siblings run one after another, and one rollback erases no sibling', async () => {
    await run(async () => {
      const siblings = await Promise.allSettled(
        ['a', 'b', 'c', 'd', 'e'].map((text, index) =>
          session.transactional(async () => {
            await insert(text);
            await session.execute('select pg_sleep(0.01)');
            if (index % 2 === 1) {
              throw new Error(text);
            }
          }),
        ),
      );
      expect(siblings.map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'fulfilled',
        'rejected',
        'fulfilled',
      ]);
    });
    expect((await world.savedTexts()).toSorted()).toEqual(['a', 'c', 'e']);
  });

  it('F5: a statement of a parallel branch is not undone by a savepoint that it is not in', async () => {
    await run(async () => {
      const isInside = deferred();
      const goOn = deferred();
      const nested = session.transactional(async () => {
        await insert('inside');
        isInside.resolve();
        await goOn.promise;
        throw new Error('inner');
      });
      await isInside.promise;
      const outside = insert('outside');
      goOn.resolve();
      await expect(nested).rejects.toThrow('inner');
      await outside;
    });
    expect(await world.savedTexts()).toEqual(['outside']);
  });

  it('C6: code inside the callback that uses an outer entity manager is inside the savepoint', async () => {
    await run(async () => {
      await insert('before');
      const outer = world.dbContext.getSession()!;
      await expect(
        session.transactional(async () => {
          await outer.insert(Note, { text: 'by the outer one' });
          throw new Error('inner');
        }),
      ).rejects.toThrow('inner');
    });
    expect(await world.savedTexts()).toEqual(['before']);
  });

  it('F4: a failure that em.transactional() undid does not forbid the commit', async () => {
    await run(async () => {
      await insert('kept');
      await expect(session.transactional(() => insert('kept'))).rejects.toBeInstanceOf(
        UniqueConstraintViolationException,
      );
    });
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('F4: a swallowed failure inside em.transactional() rolls its savepoint back and says so', async () => {
    await run(async () => {
      await insert('kept');
      await expect(
        session.transactional(async () => {
          await insert('lost');
          await insert('kept').catch(() => undefined);
        }),
      ).rejects.toMatchObject({ constructor: UnexpectedRollbackError, reason: 'failed-statement' });
    });
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('F3: a statement that outlives em.transactional() is refused', async () => {
    await run(async () => {
      const ended = deferred();
      let late: Promise<unknown> | undefined;
      await session.transactional(async (em) => {
        late = ended.promise.then(() => em.insert(Note, { text: 'late' }));
        await insert('in time');
      });
      ended.resolve();
      await expect(late).rejects.toBeInstanceOf(SessionClosedError);
    });
    expect(await world.savedTexts()).toEqual(['in time']);
  });

  it('C6: commit() and rollback() inside em.transactional() are refused', async () => {
    await run(async () => {
      await session.transactional(async () => {
        await expect(session.commit()).rejects.toBeInstanceOf(InvalidTransactionStateError);
        await expect(world.dbContext.rollback()).rejects.toBeInstanceOf(
          InvalidTransactionStateError,
        );
        await insert('kept');
      });
    });
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('C6: begin({ ctx }) sets a savepoint that commit() and rollback() end', async () => {
    await run(async () => {
      await insert('before');
      await session.begin({ ctx: session.getTransactionContext() });
      await insert('undone');
      await session.rollback();
      await session.begin({ ctx: session.getTransactionContext() });
      await insert('second');
      await session.commit();
      expect(world.proxy.log).not.toContain('commit');
      await insert('third');
    });
    expect(await world.savedTexts()).toEqual(['before', 'second', 'third']);
  });

  it('C6: REQUIRES_NEW commits on its own, and the session keeps its transaction', async () => {
    await expect(
      run(async () => {
        await insert('undone');
        const outer = await xid();
        await session.transactional(
          async () => {
            await insert('kept');
            expect(await xid()).not.toBe(outer);
          },
          { propagation: 'requires_new' as never },
        );
        expect(await xid()).toBe(outer);
        throw new Error('outer');
      }),
    ).rejects.toThrow('outer');
    expect(await world.savedTexts()).toEqual(['kept']);
  });
});

describe('subscribers', () => {
  it('C6: are called for begin, commit and rollback, and may run statements', async () => {
    const events: string[] = [];
    let isListening = true;
    const record =
      (name: string, mayQuery: boolean) =>
      async ({ em }: TransactionEventArgs): Promise<void> => {
        if (isListening) {
          events.push(name);
          if (mayQuery) {
            await (em as EntityManager).execute(`select '${name}'`);
          }
        }
      };
    const manager = world.connection().orm.em.getEventManager();
    manager.registerSubscriber({
      beforeTransactionStart: record('beforeTransactionStart', false),
      afterTransactionStart: record('afterTransactionStart', true),
      beforeTransactionCommit: record('beforeTransactionCommit', true),
      afterTransactionCommit: record('afterTransactionCommit', false),
      beforeTransactionRollback: record('beforeTransactionRollback', false),
      afterTransactionRollback: record('afterTransactionRollback', false),
    });
    await run(() => insert('kept'));
    await expect(
      run(async () => {
        await session.execute('select 1');
        throw new Error('undone');
      }),
    ).rejects.toThrow('undone');
    isListening = false;
    expect(events).toEqual([
      'beforeTransactionStart',
      'afterTransactionStart',
      'beforeTransactionCommit',
      'afterTransactionCommit',
      'beforeTransactionStart',
      'afterTransactionStart',
      'beforeTransactionRollback',
      'afterTransactionRollback',
    ]);
    expect(world.proxy.log.map((sql) => sql.split(' ')[0]).join(' ')).toBe(
      'begin select insert select commit begin select select rollback',
    );
    expect(await world.savedTexts()).toEqual(['kept']);
  });
});

describe('after a failed statement', () => {
  it('F4: the commit is refused, with the first failure as its cause', async () => {
    await expect(
      run(async () => {
        await insert('a');
        await insert('a').catch(() => undefined);
        await insert('b').catch(() => undefined);
      }),
    ).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'failed-statement',
      connectionName: 'default',
      cause: { code: '23505' },
    });
    expect(await world.savedTexts()).toEqual([]);
    expect(world.proxy.log.at(-1)).toBe('rollback');
  });

  it('F4: rollback() makes the session usable again', async () => {
    await run(async () => {
      await insert('a');
      await insert('a').catch(() => undefined);
      await session.rollback();
      await insert('b');
    });
    expect(await world.savedTexts()).toEqual(['b']);
  });

  it('F4: a savepoint in plain SQL undoes a failure, too', async () => {
    await run(async () => {
      await insert('a');
      await session.execute('savepoint mine');
      await insert('a').catch(() => undefined);
      await session.execute('rollback to savepoint mine');
    });
    expect(await world.savedTexts()).toEqual(['a']);
  });

  it('F4: a plain COMMIT statement is found out, and nothing runs after it', async () => {
    await expect(
      run(async () => {
        await insert('a');
        await session.execute('commit');
        await expect(insert('autocommitted')).rejects.toBeInstanceOf(TransactionAbortedError);
      }),
    ).rejects.toBeInstanceOf(InvalidTransactionStateError);
    expect(await world.savedTexts()).toEqual(['a']);
  });
});
