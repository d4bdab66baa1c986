/**
 * Ends, and what is decided on them, at the same time as another end: hooks that end the session, branches
 * that do, blocks that are not awaited. Where two of them cannot both be right, one is refused.
 */
import {
  InvalidOptionsError,
  InvalidTransactionStateError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

// An end that nobody awaits gives its connection back a moment later.
const current = useWorld(() => startWorld({ drainTimeoutMs: 200 }), { hasLateWork: true });

const insert = (text: string): Promise<unknown> => current.insert(text);
const errorOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );
const ROLLBACK_ONLY = { code: 'UNEXPECTED_ROLLBACK', reason: 'rollback-only' };
const UNAWAITED = { code: 'UNEXPECTED_ROLLBACK', reason: 'unawaited-statements' };

describe('rollbackOnly() when the end has begun', () => {
  const HOOKS = {
    'a hook of the context': () =>
      current.dbContext.beforeCommit(() => current.dbContext.rollbackOnly()),
    'a hook of the context, for one connection': () =>
      current.dbContext.beforeCommit(() =>
        current.dbContext.rollbackOnly({ connection: 'default' }),
      ),
    'a hook of the connection': () =>
      current.dbContext.beforeCommit(() => current.dbContext.rollbackOnly(), {
        connection: 'default',
      }),
    'a branch, while a hook runs': () => {
      const marked = deferred();
      current.dbContext.beforeCommit(async () => {
        setImmediate(() => {
          current.dbContext.rollbackOnly();
          marked.resolve();
        });
        await marked.promise;
      });
    },
  };

  it.each(Object.entries(HOOKS))('F4: %s forbids the commit', async (_, register) => {
    const hooks: string[] = [];
    const error = await errorOf(
      current.run(async () => {
        current.dbContext.onCommit(() => hooks.push('onCommit'));
        current.dbContext.onRollback(() => hooks.push('onRollback'));
        await insert('row');
        register();
      }),
    );
    expect(error).toBeInstanceOf(UnexpectedRollbackError);
    expect(error).toMatchObject(ROLLBACK_ONLY);
    expect([hooks, await current.world.savedTexts()]).toEqual([['onRollback'], []]);
  });

  const EARLY = {
    'commit()': () => current.dbContext.commit(),
    'commitAll()': () => current.dbContext.commitAll(),
    'atomic()': () => current.dbContext.atomic(() => undefined, { current: 'append' }),
  };
  it.each(Object.entries(EARLY))('F4, C1: it forbids an early %s as well', async (_, commit) => {
    await current.run(async () => {
      await insert('row');
      current.dbContext.beforeCommit(
        () => current.dbContext.rollbackOnly({ connection: 'default' }),
        {
          connection: 'default',
        },
      );
      expect(await errorOf(commit())).toMatchObject(ROLLBACK_ONLY);
      await current.session.rollback();
    });
    expect(await current.world.savedTexts()).toEqual([]);
  });
});

describe('a commit when the end of the context has begun', () => {
  const ENDS = {
    'commit()': () => current.dbContext.commit(),
    'session.commit()': () => current.session.commit(),
    'commitAll()': () => current.dbContext.commitAll(),
    'atomic()': () => current.dbContext.atomic(() => undefined),
  };
  const cases = Object.entries(ENDS);

  it.each(cases)('M1, C5: %s of a hook is refused, and vetoes', async (_, commit) => {
    const hooks: string[] = [];
    const error = await errorOf(
      current.run(async () => {
        current.dbContext.onCommit(() => hooks.push('onCommit'));
        current.dbContext.onRollback(() => hooks.push('onRollback'));
        await insert('row');
        current.dbContext.beforeCommit(() => commit());
      }),
    );
    expect(error).toBeInstanceOf(InvalidTransactionStateError);
    expect([hooks, await current.world.savedTexts()]).toEqual([['onRollback'], []]);
  });

  it.each(cases)(
    'M1: %s of a branch is refused, and the context is committed',
    async (_, commit) => {
      let refused: unknown;
      await current.run(async () => {
        await insert('row');
        const tried = deferred();
        setImmediate(() => {
          void errorOf(commit()).then((error) => {
            refused = error;
            tried.resolve();
          });
        });
        current.dbContext.beforeCommit(() => tried.promise);
      });
      expect(refused).toBeInstanceOf(InvalidTransactionStateError);
      expect(await current.world.savedTexts()).toEqual(['row']);
    },
  );
});

describe('an atomic block that nobody awaits', () => {
  const MODES = ['commit', 'rollback', 'append', 'savepoint'] as const;
  it.each(MODES)('F3, C2: with %s, it refuses the commit of its context', async (mode) => {
    const started = deferred();
    const mayGoOn = deferred();
    let block: Promise<unknown> | undefined;
    const error = await errorOf(
      current.run(async () => {
        await insert('before');
        block = errorOf(
          current.dbContext.atomic(
            async () => {
              await insert('half');
              started.resolve();
              await mayGoOn.promise;
              await insert('other half');
            },
            { current: mode },
          ),
        );
        await started.promise;
      }),
    );
    mayGoOn.resolve();
    expect(error).toMatchObject(UNAWAITED);
    expect(await block).toBeInstanceOf(Error);
    expect(await current.world.savedTexts()).toEqual(mode === 'commit' ? ['before'] : []);
  });
});

describe('an atomic block, and an end of another branch', () => {
  const ENDS = {
    'commit()': () => current.dbContext.commit(),
    'session.commit()': () => current.session.commit(),
    'rollback()': () => current.dbContext.rollback(),
    'session.rollback()': () => current.session.rollback(),
    'close()': () => current.dbContext.close(),
    'commitAll()': () => current.dbContext.commitAll(),
    'rollbackAll()': () => current.dbContext.rollbackAll(),
    'closeAll()': () => current.dbContext.closeAll(),
    'popSession()': async () => void current.dbContext.popSession(),
  };
  it.each(Object.entries(ENDS))('C2: %s is refused, and the block stays whole', async (_, end) => {
    let refused: unknown;
    await current.run(async () => {
      const half = deferred();
      const ended = deferred();
      await Promise.all([
        current.dbContext.atomic(async () => {
          await insert('half');
          half.resolve();
          await ended.promise;
          await insert('other half');
        }),
        (async () => {
          await half.promise;
          refused = await errorOf(Promise.resolve().then(end));
          ended.resolve();
        })(),
      ]);
    });
    expect(refused).toBeInstanceOf(InvalidTransactionStateError);
    expect(await current.world.savedTexts()).toEqual(['half', 'other half']);
  });

  it('C2: another block waits for its turn', async () => {
    await current.run(() =>
      Promise.all(
        ['a', 'b', 'c'].map((text) =>
          current.dbContext.atomic(async () => {
            await insert(text);
            await insert(`${text} again`);
          }),
        ),
      ),
    );
    expect(await current.world.savedTexts()).toEqual([
      'a',
      'a again',
      'b',
      'b again',
      'c',
      'c again',
    ]);
  });

  it('C1, C2: the block itself may end its session', async () => {
    await current.run(() =>
      current.dbContext.atomic(async () => {
        await insert('first');
        await current.session.commit();
        await insert('undone');
        await current.dbContext.rollback();
        await insert('second');
      }),
    );
    expect(await current.world.savedTexts()).toEqual(['first', 'second']);
  });
});

describe('beforeCommit hooks', () => {
  const veto = (): never => {
    throw new RangeError('veto');
  };
  const BOUND = { connection: 'default' };

  it.each([
    ['of the context', {}],
    ['of the connection', BOUND],
  ])('C5: a hook %s that another one registers runs', async (_, options) => {
    const run = current.run(async () => {
      await insert('row');
      current.dbContext.beforeCommit(() => current.dbContext.beforeCommit(veto, options), options);
    });
    await expect(run).rejects.toEqual(new RangeError('veto'));
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('C5: one that is bound to a connection which has not begun runs, and may write', async () => {
    await current.run(async () => {
      current.dbContext.beforeCommit(() => insert('of the hook'), BOUND);
    });
    expect(await current.world.savedTexts()).toEqual(['of the hook']);
  });

  it('C5: hooks that register hooks without end are refused', async () => {
    const again = (): void => current.dbContext.beforeCommit(again);
    const error = await errorOf(current.run(async () => again()));
    expect(error).toBeInstanceOf(InvalidOptionsError);
  });
});

describe('options that would have no effect', () => {
  it.each(['commitOn', 'commitOnError'])(
    'S8: run() that joins a context refuses %s',
    async (option) => {
      await current.run(async () => {
        const joined = current.dbContext.run(() => insert('row'), { [option]: () => true });
        expect(await errorOf(joined)).toBeInstanceOf(InvalidOptionsError);
      });
      expect(await current.world.savedTexts()).toEqual([]);
    },
  );
});

describe('a session that is being closed as the context ends', () => {
  it.each(['close', 'closeAll'] as const)('S1, F3: %s() refuses the commit', async (verb) => {
    const run = current.run(async () => {
      await insert('row');
      void current.dbContext[verb]();
    });
    expect(await errorOf(run)).toMatchObject({
      code: 'UNEXPECTED_ROLLBACK',
      reason: 'ended-meanwhile',
    });
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('S1: one without work does not', async () => {
    await current.run(async () => {
      await current.session.find(Note, {});
      await current.session.commit();
      void current.dbContext.close();
    });
    expect(await current.world.savedTexts()).toEqual([]);
  });
});

it("C2: a block with onError: 'rollback-only' that fails to commit forbids the commit of the rest", async () => {
  await current.run(() => insert('taken'));
  const error = await errorOf(
    current.run(async () => {
      await insert('before');
      const block = current.dbContext.atomic(
        async () => {
          await errorOf(insert('taken'));
        },
        { current: 'append', onError: 'rollback-only' },
      );
      expect(await errorOf(block)).toBeInstanceOf(UnexpectedRollbackError);
      await errorOf(insert('after'));
    }),
  );
  expect(error).toMatchObject({ code: 'UNEXPECTED_ROLLBACK' });
  expect(await current.world.savedTexts()).toEqual(['taken']);
});
