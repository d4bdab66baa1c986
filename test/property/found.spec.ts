/**
 * What the properties of this folder have found, each as small as it gets. What is not fixed yet
 * stands here as `it.failing`.
 */
import { TransactionPropagation } from '@mikro-orm/core';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';
import { Boom, labelOf } from './labels.js';

const shared = useWorld();
const run = <T>(callback: () => Promise<T>): Promise<T> => shared.run(callback);
const insert = (text: string): Promise<unknown> => shared.insert(text);
const REQUIRED = { propagation: TransactionPropagation.REQUIRED };
const NOT_SUPPORTED = { propagation: TransactionPropagation.NOT_SUPPORTED };
const REQUIRES_NEW = { propagation: TransactionPropagation.REQUIRES_NEW };
const REFUSED = 'InvalidTransactionStateError';
const outcome = (work: Promise<unknown>): Promise<string> => work.then(() => 'ok', labelOf);
const fail = (): never => {
  throw new Boom();
};

it('F3, S5: what the callback of requires_new left behind is refused', async () => {
  let late: Promise<string> | undefined;
  await run(async () => {
    const ended = deferred();
    await shared.session.transactional(async () => {
      late = outcome(ended.promise.then(() => insert('late')));
    }, REQUIRES_NEW);
    ended.resolve();
    await late;
  });
  const result = await late;
  expect({ result, saved: await shared.world.savedTexts() }).toEqual({
    result: 'SessionClosedError',
    saved: [],
  });
});

it('F4: a commit with pending changes throws the first failure, too', async () => {
  const result = await outcome(
    run(async () => {
      await insert('a');
      await outcome(insert('a'));
      shared.session.persist(new Note('pending'));
    }),
  );
  expect(result).toBe('UnexpectedRollbackError(23505)');
});

it('C5: an early commit that fails runs onRollback', async () => {
  const calls: string[] = [];
  await run(async () => {
    await insert('a');
    shared.dbContext.onRollback(() => calls.push('rolled back'));
    await outcome(insert('a'));
    expect(await outcome(shared.session.commit())).toBe('UnexpectedRollbackError(23505)');
    expect(calls).toEqual(['rolled back']);
    await shared.session.rollback();
  });
  expect(calls).toEqual(['rolled back']);
});

it('C5: hooks are discarded with a requires_new that is rolled back', async () => {
  const calls: string[] = [];
  await run(async () => {
    await outcome(
      shared.session.transactional(async () => {
        await insert('undone');
        shared.dbContext.onCommit(() => calls.push('committed'));
        fail();
      }, REQUIRES_NEW),
    );
  });
  expect(calls).toEqual([]);
});

it('C2: parallel blocks inside of a block take turns', async () => {
  const result = await outcome(
    run(() =>
      shared.dbContext.atomic(async () => {
        await Promise.all(['a', 'b'].map((text) => shared.dbContext.atomic(() => insert(text))));
      }),
    ),
  );
  expect({ result, saved: await shared.world.savedTexts() }).toEqual({
    result: 'ok',
    saved: ['a', 'b'],
  });
});

it('F6: parallel savepoints end, also when the flush before them fails', async () => {
  await run(() => insert('taken'));
  let result: unknown;
  await outcome(
    run(async () => {
      shared.session.persist(new Note('taken'));
      const savepoint = (): Promise<string> =>
        outcome(shared.session.transactional(async () => insert('inside')));
      // Without an end the test would run into its own limit.
      result = await Promise.all([savepoint(), savepoint()]);
      fail();
    }),
  );
  expect(result).toEqual([expect.stringContaining('UniqueConstraint'), expect.any(String)]);
});

it('C1: after an end inside of a callback that joined, the session goes on', async () => {
  const result = await outcome(
    run(async () => {
      await shared.session.transactional(() => shared.session.commit(), REQUIRED);
      await insert('a');
    }),
  );
  expect({ result, saved: await shared.world.savedTexts() }).toEqual({
    result: 'ok',
    saved: ['a'],
  });
});

it('C1, C6: an end inside of not_supported is refused', async () => {
  const result = await outcome(
    run(() => shared.session.transactional(() => shared.dbContext.commit(), NOT_SUPPORTED)),
  );
  expect(result).toBe('InvalidTransactionStateError');
});

it('F3, S5: what the callback of not_supported left behind is refused', async () => {
  const ended = deferred();
  let late: Promise<string> | undefined;
  await run(() =>
    shared.session.transactional(async (own) => {
      late = outcome(ended.promise.then(() => own.insert(Note, { text: 'late' })));
    }, NOT_SUPPORTED),
  );
  ended.resolve();
  const result = await late;
  expect({ result, saved: await shared.world.savedTexts() }).toEqual({
    result: 'SessionClosedError',
    saved: [],
  });
});

it('F4: a commit throws the first failure also when it was in a beforeCommit hook', async () => {
  await run(() => insert('taken'));
  const result = await outcome(
    run(async () => {
      await insert('a');
      const hook = async (): Promise<void> => {
        await outcome(insert('taken'));
        shared.session.persist(new Note('pending'));
      };
      shared.dbContext.beforeCommit(hook, { connection: 'default' });
    }),
  );
  expect(result).toBe('UnexpectedRollbackError(23505)');
});

it('F4: a first statement that fails says why', async () => {
  await run(() => insert('taken'));
  const result = new Set<string>();
  // Once is not enough: the answer may come in one piece or in two.
  for (let each = 0; each < 50; each++) {
    result.add(await outcome(run(() => insert('taken'))));
  }
  expect([...result]).toEqual(['UniqueConstraintViolationException(23505)']);
});

describe('in the transaction of another session', () => {
  /** Runs `work` in a transaction that is undone, and that the injected session stands for. */
  const inAnother = (work: () => Promise<unknown>): Promise<void> =>
    shared.dbContext.newSession(async (own) => {
      await own.transactional(async () => {
        await insert('of the other session');
        await work();
      });
    });

  it('C5, C6: a beforeCommit hook writes into the session that is being committed', async () => {
    await run(async () => {
      await insert('row');
      shared.dbContext.beforeCommit(() => insert('of the hook'), { connection: 'default' });
      const session = shared.dbContext.getSession()!;
      await inAnother(() => session.commit());
    });
    expect(await shared.world.savedTexts()).toEqual(['row', 'of the hook']);
  });

  const ENDS = {
    'commit()': () => shared.dbContext.commit(),
    'rollback()': () => shared.dbContext.rollback(),
    'close()': () => shared.dbContext.close(),
    'commitAll()': () => shared.dbContext.commitAll(),
    'rollbackAll()': () => shared.dbContext.rollbackAll(),
    'closeAll()': () => shared.dbContext.closeAll(),
    'atomic()': () => shared.dbContext.atomic(() => insert('of the block')),
  };
  it.each(Object.entries(ENDS))('C6, C1: %s is refused, on any session', async (_, end) => {
    await run(async () => {
      await insert('row');
      await inAnother(async () => expect(await outcome(end())).toBe(REFUSED));
      await shared.session.fork().transactional(async () => {
        expect(await outcome(end())).toBe(REFUSED);
      });
    });
    expect(await shared.world.savedTexts()).toEqual(['row']);
  });

  it('C3, C6: a new context inside of it ends its own sessions', async () => {
    await run(() =>
      inAnother(() =>
        shared.dbContext.runInNewContext(async () => {
          await insert('first');
          await shared.dbContext.commit();
          await shared.dbContext.atomic(() => insert('second'));
        }),
      ),
    );
    expect(await shared.world.savedTexts()).toEqual(['first', 'second']);
  });
});

describe('a block that fails after a commit', () => {
  const failCommit = async (): Promise<void> => {
    await outcome(insert('a'));
    expect(await outcome(shared.session.commit())).toBe('UnexpectedRollbackError(23505)');
  };

  it('F4, C2: forgets that one of its own commits has failed', async () => {
    await run(async () => {
      await insert('a');
      const block = shared.dbContext.atomic(async () => {
        await failCommit();
        fail();
      });
      expect(await outcome(block)).toBe('Boom');
      await insert('b');
    });
    expect(await shared.world.savedTexts()).toEqual(['a', 'b']);
  });

  it('F4, C2: does not bring back a failure that was undone by rollback()', async () => {
    await run(async () => {
      await insert('a');
      await shared.session.commit();
      await failCommit();
      const block = shared.dbContext.atomic(async () => {
        await shared.session.rollback();
        fail();
      });
      expect(await outcome(block)).toBe('Boom');
      await insert('b');
    });
    expect(await shared.world.savedTexts()).toEqual(['a', 'b']);
  });

  it('F4: keeps a failure of before, also when the block asked for a rollback', async () => {
    const result = await outcome(
      run(async () => {
        await insert('a');
        await shared.session.commit();
        await failCommit();
        const block = shared.dbContext.atomic(() => {
          shared.dbContext.rollbackOnly({ connection: 'default' });
          return fail();
        });
        expect(await outcome(block)).toBe('Boom');
        await insert('b');
      }),
    );
    expect(result).toBe('UnexpectedRollbackError(failed-before)');
  });
});
