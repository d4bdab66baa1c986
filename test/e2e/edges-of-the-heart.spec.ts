import { TransactionPropagation, type TransactionOptions } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { SessionClosedError, UnexpectedRollbackError } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

/** What a promise comes to: its value, or what it was rejected with. */
const outcomeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => value,
    (error: unknown) => error,
  );

/** What a context is refused with that was to be committed. */
const refused = (reason: UnexpectedRollbackError['reason'], cause?: unknown): object => ({
  constructor: UnexpectedRollbackError,
  code: 'UNEXPECTED_ROLLBACK',
  connectionName: 'default',
  reason,
  ...(cause !== undefined && { cause }),
});

const closed = {
  constructor: SessionClosedError,
  code: 'SESSION_CLOSED',
  connectionName: 'default',
};

describe('the limit of a transaction', () => {
  const at = useWorld(() => startWorld({ transactionTimeoutMs: 300 }));

  it.each([
    ['flush()', () => at.session.flush()],
    ['a second flush()', () => at.session.flush().then(() => at.session.flush())],
    ['session.commit()', () => at.session.commit()],
    ['dbContext.commitAll()', () => at.dbContext.commitAll()],
    ['atomic()', () => at.dbContext.atomic(() => undefined)],
  ])('F6: the empty flush of %s starts no deadline', async (_, nothing) => {
    await at.run(async () => {
      await nothing();
      expect(at.world.proxy.log).toEqual([]);
      // Work on another database, which takes longer than a transaction may.
      await at.world.database.query('select pg_sleep(0.6)');
      await at.insert('kept');
    });
    expect(await at.world.savedTexts()).toEqual(['kept']);
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
  });
});

describe('a transaction that has not begun', () => {
  const asked: string[] = [];
  const at = useWorld(() =>
    startWorld(
      {},
      {
        beforeCommit: (_em: unknown, connectionName: string) => {
          asked.push(connectionName);
        },
      },
    ),
  );

  it('C5: the change of a managed entity runs the beforeCommit option and the bound hook', async () => {
    await at.world.database.query(`insert into note (text) values ('before')`);
    const hooks: string[] = [];
    await at.run(async () => {
      const note = await at.session.findOneOrFail(Note, { text: 'before' });
      await at.session.commit();
      asked.length = 0;
      at.dbContext.beforeCommit(() => hooks.push('bound'), { connection: 'default' });
      note.text = 'after';
    });
    expect(asked).toEqual(['default']);
    expect(hooks).toEqual(['bound']);
    expect(await at.world.savedTexts()).toEqual(['after']);
  });

  const veto = new Error('the hook has refused');
  const commits: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['dbContext.commitAll()', () => at.dbContext.commitAll()],
    ['dbContext.commit()', () => at.dbContext.commit()],
    ['session.commit()', () => at.session.commit()],
  ];
  /** Persists a note, and has its early commit refused before BEGIN. */
  async function failEarly(commit: () => Promise<unknown>): Promise<void> {
    at.session.persist(new Note('lost'));
    let refuses = true;
    at.dbContext.beforeCommit(
      () => {
        if (refuses) {
          refuses = false;
          throw veto;
        }
      },
      { connection: 'default' },
    );
    expect(await outcomeOf(commit())).toBe(veto);
    expect(at.world.proxy.log).toEqual([]);
  }

  it.each(commits)(
    'F4: %s that fails before BEGIN forbids the success of its context',
    async (_, commit) => {
      const outcome = await outcomeOf(
        at.run(async () => {
          await failEarly(commit);
          return 'success';
        }),
      );
      expect(outcome).toMatchObject(refused('failed-before', veto));
      expect(at.world.proxy.log).toEqual([]);
      expect(await at.world.savedTexts()).toEqual([]);
    },
  );

  it.each(commits)(
    'F4: %s that fails before BEGIN is forgiven when somebody rolls back',
    async (_, commit) => {
      await at.run(async () => {
        await failEarly(commit);
        await at.dbContext.rollbackAll();
        await at.insert('kept');
      });
      expect(await at.world.savedTexts()).toEqual(['kept']);
    },
  );

  it('C2: atomic() commits the change of a managed entity from before the block', async () => {
    await at.world.database.query(`insert into note (text) values ('before')`);
    const blockError = new Error('the block has failed');
    const outcome = await outcomeOf(
      at.run(async () => {
        const note = await at.session.findOneOrFail(Note, { text: 'before' });
        await at.session.commit();
        note.text = 'changed before the block';
        const block = at.dbContext.atomic(
          async (em: EntityManager) => {
            await em.insert(Note, { text: 'undone' });
            throw blockError;
          },
          { current: 'commit' },
        );
        expect(await outcomeOf(block)).toBe(blockError);
        return 'success';
      }),
    );
    expect(outcome).toBe('success');
    expect(await at.world.savedTexts()).toEqual(['changed before the block']);
  });
});

describe('work beside the transaction of a session', () => {
  const at = useWorld(startWorld, { hasLateWork: true });

  /** Starts work that inserts a row only when `gate` is opened. */
  async function startLate(propagation: TransactionPropagation) {
    const gate = deferred();
    const began = deferred();
    const end = outcomeOf(
      at.session.transactional(
        async (em) => {
          await em.execute('select 1');
          began.resolve();
          await gate.promise;
          await em.insert(Note, { text: 'late' });
        },
        { propagation },
      ),
    );
    await began.promise;
    return { end, open: () => gate.resolve() };
  }
  const lateStatements = (): string[] => at.world.proxy.log.filter((sql) => sql.includes('late'));

  it('W3, S5: a transaction of its own ends with the context, also when the session it began in has failed', async () => {
    let late!: Awaited<ReturnType<typeof startLate>>;
    const outcome = await outcomeOf(
      at.run(async () => {
        late = await startLate(TransactionPropagation.REQUIRES_NEW);
        await at.session.execute('set constraints all deferred');
        await at.insert('twice');
        await at.insert('twice');
        expect(await outcomeOf(at.session.commit())).toMatchObject({ code: '23505' });
        await at.session.rollback();
        await at.insert('fine');
        return 'success';
      }),
    );
    expect(outcome).toMatchObject(refused('unawaited-statements'));
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    late.open();
    expect(await late.end).toMatchObject(closed);
    expect(lateStatements()).toEqual([]);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('W3: code in no transaction that still runs when its context ends objects to the commit', async () => {
    let late!: Awaited<ReturnType<typeof startLate>>;
    const outcome = await outcomeOf(
      at.run(async () => {
        late = await startLate(TransactionPropagation.NOT_SUPPORTED);
        await at.insert('fine');
        return 'success';
      }),
    );
    expect(outcome).toMatchObject(refused('unawaited-statements'));
    late.open();
    expect(await late.end).toMatchObject(closed);
    expect(lateStatements()).toEqual([]);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  /** What becomes of a transaction that a manager from within a context begins after its end. */
  async function beginLate(managerOf: () => EntityManager, options: TransactionOptions) {
    let em!: EntityManager;
    await at.run(async () => {
      await at.insert('fine');
      em = managerOf();
    });
    at.world.proxy.reset();
    let calls = 0;
    const outcome = await outcomeOf(
      em.transactional(async (own) => {
        calls += 1;
        await own.insert(Note, { text: 'late' });
      }, options),
    );
    return { outcome, calls };
  }

  it('S5, W3: the manager of a session begins no transaction of its own after the end of its context', async () => {
    const { outcome, calls } = await beginLate(() => at.dbContext.getSession()!, {
      propagation: TransactionPropagation.REQUIRES_NEW,
    });
    expect(outcome).toMatchObject(closed);
    expect(calls).toBe(0);
    expect(at.world.proxy.log).toEqual([]);
    expect(await at.world.savedTexts()).toEqual(['fine']);
  });

  it("W2: a fork of a session is the application's own, also after the end of the context", async () => {
    const { outcome, calls } = await beginLate(() => at.session.fork(), {});
    expect([outcome, calls]).toEqual([undefined, 1]);
    expect(await at.world.savedTexts()).toEqual(['fine', 'late']);
  });
});

describe('a flush that fails inside of a nested transaction', () => {
  const at = useWorld();
  const hookError = new Error('the hook has failed');
  let fails = false;

  beforeAll(() => {
    at.world
      .connection()
      .orm.em.getEventManager()
      .registerSubscriber({
        onFlush: async () => {
          if (fails) {
            fails = false;
            throw hookError;
          }
        },
      });
  });

  it('F4: forbids the success of its context, when its error was swallowed', async () => {
    fails = true;
    let swallowed: unknown;
    const outcome = await outcomeOf(
      at.run(async () => {
        await at.insert('outer');
        await at.session.transactional(async (own) => {
          own.persist(new Note('lost'));
          swallowed = await outcomeOf(own.flush());
        });
        return 'success';
      }),
    );
    expect(swallowed).toBe(hookError);
    expect(outcome).toMatchObject(refused('failed-flush', hookError));
    expect(at.world.proxy.log).not.toContain('commit');
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F4: is undone with the nested transaction, when that fails', async () => {
    fails = true;
    await at.run(async () => {
      await at.insert('outer');
      const nested = at.session.transactional(async (own) => {
        own.persist(new Note('lost'));
        await own.flush();
      });
      expect(await outcomeOf(nested)).toBe(hookError);
    });
    expect(await at.world.savedTexts()).toEqual(['outer']);
  });
});

describe('a session that is closed between the checkout of its connection and BEGIN', () => {
  /** More turns of the microtask queue than lie between the two. */
  const MOST_TURNS = 30;
  const at = useWorld(startWorld, { hasLateWork: true });

  it('F1: loses no slot of the pool, at whichever turn in between', async () => {
    await at.run(() => at.session.execute('select 1'));
    const pool = (await at.world.connection().pool()) as unknown as {
      once(event: 'acquire', listener: () => void): void;
    };
    const begun = new Set<boolean>();
    for (let turns = 0; turns < MOST_TURNS; turns++) {
      at.world.proxy.reset();
      let statement!: Promise<unknown>;
      await at.run(async () => {
        const isClosed = deferred();
        pool.once('acquire', () => {
          void (async () => {
            for (let turn = 0; turn < turns; turn++) {
              await Promise.resolve();
            }
            isClosed.resolve(at.dbContext.close());
          })();
        });
        statement = outcomeOf(at.session.execute('select 2'));
        await isClosed.promise;
      });
      const outcome = await statement;
      await waitFor(() => at.world.pool().checkedOut === 0, {
        what: `the connection to be given back after ${turns} turns`,
      });
      expect(at.world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
      // A statement that was on its way with its BEGIN is answered; any other is not sent.
      const hasBegun = at.world.proxy.log.includes('begin');
      expect(outcome).toMatchObject(hasBegun ? [{ '?column?': 2 }] : closed);
      expect(at.world.proxy.log.includes('select 2')).toBe(hasBegun);
      begun.add(hasBegun);
    }
    // Both sides of the gap were met.
    expect(begun).toEqual(new Set([false, true]));
    expect(await at.run(() => at.session.count(Note))).toBe(0);
  });
});

describe('PREPARE TRANSACTION of the application, and a BEGIN after it', () => {
  const at = useWorld();

  it('F4: is an error on a server that knows no prepared transactions, and nothing is saved', async () => {
    const outcome = await outcomeOf(
      at.run(async () => {
        await at.insert('before');
        await at.session.execute(`prepare transaction 'x'; begin`);
        return 'success';
      }),
    );
    expect(outcome).toMatchObject({ code: 'INVALID_TRANSACTION_STATE', cause: { code: '55000' } });
    expect(await at.world.savedTexts()).toEqual([]);
  });
});
