import { AsyncResource } from 'node:async_hooks';

import { UniqueConstraintViolationException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, ForbiddenException, Injectable, Post, Query } from '@nestjs/common';
import {
  Atomic,
  DbContext,
  DbContextModule,
  DbContextNotActiveError,
  InjectSession,
  InvalidOptionsError,
  SessionClosedError,
  UnexpectedRollbackError,
  UnknownConnectionError,
  type AtomicOptions,
  type RunOptions,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, type AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** Which errors are committed despite of. */
interface OnError {
  readonly commitOnError?: (error: unknown) => boolean;
}

/** The API that this spec is about; to be replaced by `DbContext` once that has it. */
interface RollbackOnlyContext {
  rollbackOnly(options?: { readonly connection?: string }): void;
  run<T>(callback: () => Promise<T>, options?: RunOptions<T> & OnError): Promise<T>;
  runInNewContext<T>(callback: () => Promise<T>, options?: RunOptions<T> & OnError): Promise<T>;
  atomic<T>(
    callback: () => Promise<T>,
    options?: AtomicOptions & OnError & { readonly onError?: 'rollback' | 'rollback-only' },
  ): Promise<T>;
}

const apiOf = (dbContext: DbContext): RollbackOnlyContext => dbContext;

/** An error that the application expects. */
class KnownError extends Error {}

@Injectable()
class Work {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Atomic({ current: 'append', onError: 'rollback-only' })
  async joinAndFail(): Promise<void> {
    await this.session.insert(Note, { text: 'inner' });
    throw new KnownError('the block');
  }
}

/** How many requests have marked their context. */
let marked = 0;

@Controller()
class MarkController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('mark')
  async mark(@Query('fail') fail?: string): Promise<string> {
    await this.session.insert(Note, { text: 'by the request' });
    apiOf(this.dbContext).rollbackOnly();
    marked += 1;
    if (fail !== undefined) {
      throw new ForbiddenException();
    }
    return 'ok';
  }
}

let other: TestDatabase;

beforeAll(async () => {
  other = await createTestDatabase();
  await other.query(NOTE_SCHEMA);
});
afterAll(() => other.drop());
beforeEach(() => other.query('truncate note restart identity'));

const startMarked = (adapter: AdapterName = 'express'): Promise<TestWorld> =>
  startWorld(
    {},
    {
      adapter,
      controllers: [MarkController],
      providers: [Work],
      imports: [DbContextModule.forFeature(noteConnection(other.url, { name: 'other' }))],
    },
  );
const otherTexts = async (): Promise<string[]> =>
  (await other.query<{ text: string }>('select text from note order by id')).map(
    ({ text }) => text,
  );

/** What a commit of a marked transaction is refused with. */
const refused = (connectionName = 'default'): object => ({
  constructor: UnexpectedRollbackError,
  code: 'UNEXPECTED_ROLLBACK',
  reason: 'rollback-only',
  connectionName,
});

const shared = useWorld(() => startMarked());
const { insert, xid } = shared;
let api: RollbackOnlyContext;

beforeAll(() => {
  api = apiOf(shared.dbContext);
});
afterEach(() => {
  expect(shared.world.pool('other')).toMatchObject({ checkedOut: 0, waiting: 0 });
});

const run: RollbackOnlyContext['run'] = (callback, options) => api.run(callback, options);
const insertOther = (text: string): Promise<unknown> => insert(text, shared.world.session('other'));
/** What a promise was rejected with. */
const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const failing = (error: Error) => async (): Promise<never> => {
  await insert('inner');
  throw error;
};

describe('rollbackOnly()', () => {
  it('C1, F4: the context cannot commit', async () => {
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        api.rollbackOnly();
        await insert('undone, too');
        shared.session.persist(new Note('undone as well'));
      }),
    );
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
    expect(shared.world.proxy.log).not.toContain('commit');
  });

  it('C1, L3: the mark holds for a session that is used only afterwards', async () => {
    const error = await errorOf(
      run(async () => {
        api.rollbackOnly();
        await insert('undone');
      }),
    );
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each([
    ['dbContext.commit()', () => shared.dbContext.commit()],
    ['dbContext.commitAll()', () => shared.dbContext.commitAll()],
    ['session.commit()', () => shared.session.commit()],
    ['atomic() that commits what is open', () => shared.dbContext.atomic(() => undefined)],
  ])('C1, F4: %s is refused', async (_, commit) => {
    let early: unknown;
    await errorOf(
      run(async () => {
        await insert('undone');
        api.rollbackOnly();
        early = await errorOf(commit());
        throw new Error('the context');
      }),
    );
    expect(early).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
    expect(shared.world.proxy.log).not.toContain('commit');
  });

  it('C1, S2: what rolls back anyway throws its own error, or none', async () => {
    const error = new Error('the context');
    await expect(
      run(async () => {
        await insert('undone');
        api.rollbackOnly();
        throw error;
      }),
    ).rejects.toBe(error);
    const result = await run(
      async () => {
        await insert('undone');
        api.rollbackOnly();
        return 'result';
      },
      { commitOn: () => false },
    );
    expect(result).toBe('result');
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C5: onRollback runs, and onCommit does not', async () => {
    const calls: string[] = [];
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        shared.dbContext.onCommit(() => calls.push('commit'));
        shared.dbContext.onRollback(() => calls.push('rollback'));
        api.rollbackOnly();
      }),
    );
    expect(error).toMatchObject(refused());
    expect(calls).toEqual(['rollback']);
  });

  it('C1: after rollbackAll() the context can commit again', async () => {
    await run(async () => {
      await insert('undone');
      api.rollbackOnly();
      await shared.dbContext.rollbackAll();
      await insert('kept');
    });
    expect(await shared.world.savedTexts()).toEqual(['kept']);
  });

  it('C1: a mark that is set in a savepoint stays when the savepoint is rolled back', async () => {
    const error = await errorOf(
      run(async () => {
        await insert('before');
        await shared.session
          .transactional(async () => {
            await insert('inner');
            api.rollbackOnly();
            throw new KnownError('the savepoint');
          })
          .catch((reason: unknown) => expect(reason).toBeInstanceOf(KnownError));
        await insert('after');
      }),
    );
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('S8: a mark that is set in a joined run() is one of the whole context', async () => {
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        await run(async () => api.rollbackOnly());
      }),
    );
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C3: a new context and the one around it do not share the mark', async () => {
    let inner: unknown;
    await run(async () => {
      await insert('outer');
      inner = await errorOf(
        api.runInNewContext(async () => {
          await insert('inner');
          api.rollbackOnly();
        }),
      );
    });
    expect(inner).toMatchObject(refused());
    const outer = await errorOf(
      run(async () => {
        await insert('undone');
        api.rollbackOnly();
        await api.runInNewContext(() => insert('in a new one'));
      }),
    );
    expect(outer).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual(['outer', 'in a new one']);
  });

  it('C1: statements after the mark run in the same transaction', async () => {
    let seen: readonly unknown[] = [];
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        const before = await xid();
        api.rollbackOnly();
        seen = [(await xid()) === before, await shared.session.count(Note)];
      }),
    );
    expect(error).toMatchObject(refused());
    expect(seen).toEqual([true, 1]);
  });

  it('S5: outside of a context, and after its end, it is an error', async () => {
    expect(await errorOf((async () => api.rollbackOnly())())).toBeInstanceOf(
      DbContextNotActiveError,
    );
    let late: (() => void) | undefined;
    await run(async () => {
      await insert('saved');
      late = AsyncResource.bind(() => api.rollbackOnly());
    });
    expect(await errorOf((async () => late!())())).toBeInstanceOf(SessionClosedError);
    expect(await shared.world.savedTexts()).toEqual(['saved']);
  });
});

describe('rollbackOnly() with two connections', () => {
  it('C1, M1: a context that is marked commits neither', async () => {
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        await insertOther('undone');
        api.rollbackOnly();
      }),
    );
    expect(error).toMatchObject({ ...refused(), connectionName: expect.any(String) });
    expect([await shared.world.savedTexts(), await otherTexts()]).toEqual([[], []]);
  });

  it('C1, M1: a session that is marked keeps all from being committed', async () => {
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        await insertOther('undone');
        api.rollbackOnly({ connection: 'other' });
      }),
    );
    expect(error).toMatchObject(refused('other'));
    expect([await shared.world.savedTexts(), await otherTexts()]).toEqual([[], []]);
    expect(shared.world.proxy.log).not.toContain('commit');
  });

  it('C1: another session than the marked one can be committed early', async () => {
    const error = await errorOf(
      run(async () => {
        await insert('kept');
        await insertOther('undone');
        api.rollbackOnly({ connection: 'other' });
        await shared.dbContext.commit();
      }),
    );
    expect(error).toMatchObject(refused('other'));
    expect([await shared.world.savedTexts(), await otherTexts()]).toEqual([['kept'], []]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['dbContext.rollback()', () => shared.dbContext.rollback('other')],
    ['session.rollback()', () => shared.world.session('other').rollback()],
    ['dbContext.rollbackAll()', () => shared.dbContext.rollbackAll()],
    [
      'atomic() that rolls back what is open',
      () => shared.dbContext.atomic(() => undefined, { connection: 'other', current: 'rollback' }),
    ],
  ])('C1: after %s a marked session can commit again', async (_, rollback) => {
    await run(async () => {
      await insertOther('undone');
      api.rollbackOnly({ connection: 'other' });
      await rollback();
      await insertOther('kept');
    });
    expect(await otherTexts()).toEqual(['kept']);
  });

  it.each(['commit', 'append', 'raise', 'savepoint'] as const)(
    'C1, C2: a mark on the connection survives an atomic() with current: %j that fails after it',
    async (current) => {
      const blockError = new KnownError('the block');
      let caught: unknown;
      const error = await errorOf(
        run(async () => {
          api.rollbackOnly({ connection: 'default' });
          caught = await errorOf(api.atomic(failing(blockError), { current }));
          await insert('undone');
        }),
      );
      expect(caught).toBe(blockError);
      expect(error).toMatchObject(refused());
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it('C1, C2: so does the mark of a block that could not commit what it had joined', async () => {
    const caught: unknown[] = [];
    const error = await errorOf(
      run(async () => {
        await insert('undone');
        const joined = api.atomic(
          async () => {
            shared.session.persist([new Note('twice'), new Note('twice')]);
          },
          { current: 'append', onError: 'rollback-only' },
        );
        caught.push(await errorOf(joined));
        caught.push(await errorOf(api.atomic(failing(new KnownError('the block')))));
        await insert('undone, too');
      }),
    );
    expect(caught).toEqual([
      expect.any(UniqueConstraintViolationException),
      new KnownError('the block'),
    ]);
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(['commit', 'append', 'rollback', 'raise', 'savepoint'] as const)(
    'C1, C2: the mark of a parallel branch survives an atomic() with current: %j that fails',
    async (current) => {
      const blockError = new KnownError('the block');
      const began = deferred();
      const isMarked = deferred();
      let caught: unknown;
      const error = await errorOf(
        run(async () => {
          const block = errorOf(
            api.atomic(
              async () => {
                await insert('of the block');
                began.resolve();
                await isMarked.promise;
                throw blockError;
              },
              { current },
            ),
          );
          await began.promise;
          await insertOther('undone');
          api.rollbackOnly({ connection: 'other' });
          isMarked.resolve();
          caught = await block;
          await insert('undone');
        }),
      );
      expect(caught).toBe(blockError);
      expect(error).toMatchObject(refused('other'));
      expect([await shared.world.savedTexts(), await otherTexts()]).toEqual([[], []]);
    },
  );

  it.each(['commit', 'append', 'rollback', 'raise'] as const)(
    'C1, C2: a mark on the connection of an atomic() with current: %j that has been rolled back is one of what comes after',
    async (current) => {
      const blockError = new KnownError('the block');
      const isRolledBack = deferred();
      const isMarked = deferred();
      let caught: unknown;
      const error = await errorOf(
        run(async () => {
          const block = errorOf(
            api.atomic(
              async () => {
                await insert('of the block');
                shared.dbContext.onRollback(() => {
                  isRolledBack.resolve();
                  return isMarked.promise;
                });
                throw blockError;
              },
              { current },
            ),
          );
          // By a parallel branch, while the block has not come to its end.
          await isRolledBack.promise;
          api.rollbackOnly({ connection: 'default' });
          isMarked.resolve();
          caught = await block;
          await insert('undone');
        }),
      );
      expect(caught).toBe(blockError);
      expect(error).toMatchObject(refused());
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it('C1, C2: a mark on the connection of a block in a savepoint survives its failure', async () => {
    const blockError = new KnownError('the block');
    const began = deferred();
    const isMarked = deferred();
    let caught: unknown;
    const error = await errorOf(
      run(async () => {
        const block = errorOf(
          api.atomic(
            async () => {
              await insert('of the block');
              began.resolve();
              await isMarked.promise;
              throw blockError;
            },
            { current: 'savepoint' },
          ),
        );
        await began.promise;
        api.rollbackOnly({ connection: 'default' });
        isMarked.resolve();
        caught = await block;
        await insert('undone');
      }),
    );
    expect(caught).toBe(blockError);
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('M1: an unknown connection is named', async () => {
    const error = await errorOf(run(async () => api.rollbackOnly({ connection: 'nope' })));
    expect(error).toBeInstanceOf(UnknownConnectionError);
    expect((error as Error).message).toContain('nope');
  });
});

describe.each<AdapterName>(['express', 'fastify'])(
  'rollbackOnly() in a request (%s)',
  (adapter) => {
    let world: TestWorld;

    beforeAll(async () => {
      world = await startMarked(adapter);
    });
    afterAll(() => world.close());

    it('S1: no 2xx is sent, and nothing is saved', async () => {
      marked = 0;
      expect((await world.fetch('/mark', { method: 'POST' })).status).toBe(500);
      expect(marked).toBe(1);
      expect(world.proxy.log).toContain('rollback');
      expect(await world.savedTexts()).toEqual([]);
    });

    it('S2: a request that fails is answered with its own error', async () => {
      expect((await world.fetch('/mark?fail', { method: 'POST' })).status).toBe(403);
      expect(await world.savedTexts()).toEqual([]);
    });
  },
);

describe("atomic() with onError: 'rollback-only'", () => {
  const OPTIONS = { current: 'append', onError: 'rollback-only' } as const;

  it('C2, F4: a block that throws and is caught keeps its context from committing', async () => {
    const blockError = new KnownError('the block');
    let caught: unknown;
    const error = await errorOf(
      run(async () => {
        await insert('before');
        caught = await errorOf(api.atomic(failing(blockError), OPTIONS));
        await insert('after');
      }),
    );
    expect(caught).toBe(blockError);
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C2: the transaction goes on until its end', async () => {
    let seen: readonly unknown[] = [];
    const error = await errorOf(
      run(async () => {
        const before = await xid();
        await errorOf(api.atomic(failing(new KnownError('the block')), OPTIONS));
        seen = [(await xid()) === before, await shared.session.count(Note)];
      }),
    );
    expect(error).toMatchObject(refused());
    expect(seen).toEqual([true, 1]);
  });

  it('C2, L3: the same in a context that had begun nothing', async () => {
    const error = await errorOf(
      run(async () => {
        await errorOf(api.atomic(failing(new KnownError('the block')), OPTIONS));
        await insert('after');
      }),
    );
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C2: an error that nobody catches comes out as it is', async () => {
    const blockError = new KnownError('the block');
    await expect(
      run(async () => {
        await insert('before');
        await api.atomic(failing(blockError), OPTIONS);
      }),
    ).rejects.toBe(blockError);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C2: a block that succeeds commits the whole', async () => {
    await run(async () => {
      await insert('before');
      await api.atomic(() => insert('inner'), OPTIONS);
    });
    expect(await shared.world.savedTexts()).toEqual(['before', 'inner']);
  });

  it('C2: the caller that rolls back goes on', async () => {
    const blockError = new KnownError('the block');
    await run(async () => {
      await insert('before');
      await expect(api.atomic(failing(blockError), OPTIONS)).rejects.toBe(blockError);
      await shared.session.rollback();
      await insert('after');
    });
    expect(await shared.world.savedTexts()).toEqual(['after']);
  });

  it('C2: @Atomic() has the option', async () => {
    let caught: unknown;
    const error = await errorOf(
      run(async () => {
        await insert('before');
        caught = await errorOf(shared.world.app.get(Work).joinAndFail());
        await insert('after');
      }),
    );
    expect(caught).toBeInstanceOf(KnownError);
    expect(error).toMatchObject(refused());
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(['commit', 'rollback', 'raise', 'savepoint', undefined] as const)(
    'C2: with current: %j it is refused, and the block does not run',
    async (current) => {
      let calls = 0;
      await run(async () => {
        await insert('before');
        const before = await xid();
        const error = await errorOf(
          api.atomic(
            async () => {
              calls += 1;
            },
            { onError: 'rollback-only', ...(current !== undefined && { current }) },
          ),
        );
        expect(error).toMatchObject({
          constructor: InvalidOptionsError,
          code: 'INVALID_OPTIONS',
          message: expect.stringMatching(
            `onError: 'rollback-only' with current: '${current ?? 'commit'}'.*give current: 'append'`,
          ),
        });
        // The transaction around it goes on as it was.
        expect(await xid()).toBe(before);
      });
      expect(calls).toBe(0);
      expect(await shared.world.savedTexts()).toEqual(['before']);
    },
  );

  it.each([
    ['by default', {}],
    ["with onError: 'rollback'", { onError: 'rollback' }],
  ] as const)('C2: %s the block rolls back at once, and its caller goes on', async (_, onError) => {
    const blockError = new KnownError('the block');
    await run(async () => {
      await insert('before');
      await expect(api.atomic(failing(blockError), { current: 'append', ...onError })).rejects.toBe(
        blockError,
      );
      await insert('after');
    });
    expect(await shared.world.savedTexts()).toEqual(['after']);
  });
});

describe('commitOnError', () => {
  const known = new KnownError('expected');
  const commitOnError = (error: unknown): boolean => error instanceof KnownError;
  type Runner = (callback: () => Promise<unknown>, options: OnError) => Promise<unknown>;

  /** Each of them ends what it began by itself; a context around it is rolled back afterwards. */
  const runners: [string, Runner][] = [
    ['run()', (callback, options) => run(callback, options)],
    ['runInNewContext()', (callback, options) => api.runInNewContext(callback, options)],
    [
      'runInNewContext() in a context',
      (callback, options) =>
        run(async () => {
          await insert('outer');
          await api.runInNewContext(callback, options);
        }),
    ],
    ['atomic()', (callback, options) => run(() => api.atomic(callback, options))],
    [
      'atomic() that appends',
      (callback, options) => run(() => api.atomic(callback, { ...options, current: 'append' })),
    ],
  ];

  it.each(runners)('S2, C2: %s commits, and throws the very error', async (_, start) => {
    const asked: unknown[] = [];
    const error = await errorOf(
      start(failing(known), {
        commitOnError: (given) => {
          asked.push(given);
          return commitOnError(given);
        },
      }),
    );
    expect(error).toBe(known);
    expect(asked).toEqual([known]);
    expect(await shared.world.savedTexts()).toEqual(['inner']);
  });

  it.each(runners)('S2, C2: %s rolls back on another error', async (_, start) => {
    const error = new Error('unexpected');
    await expect(start(failing(error), { commitOnError })).rejects.toBe(error);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(runners)('S2, C2: %s rolls back by default', async (_, start) => {
    await expect(start(failing(known), {})).rejects.toBe(known);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(runners)('S3: %s flushes what was only persisted', async (_, start) => {
    const persistAndThrow = async (): Promise<never> => {
      shared.session.persist(new Note('persisted'));
      throw known;
    };
    await expect(start(persistAndThrow, { commitOnError })).rejects.toBe(known);
    expect(await shared.world.savedTexts()).toEqual(['persisted']);
  });

  it.each(runners)('F4: %s: a commit that the server refuses wins', async (_, start) => {
    const failAtCommit = async (): Promise<never> => {
      await shared.session.execute('set constraints note_text_unique deferred');
      await insert('twice');
      await insert('twice');
      throw known;
    };
    const error = await errorOf(start(failAtCommit, { commitOnError }));
    expect(error).toBeInstanceOf(UniqueConstraintViolationException);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(runners)('F4: %s: the cause of a commit that failed is kept', async (_, start) => {
    const swallow = async (): Promise<never> => {
      await shared.session.execute('select 1 / 0').catch(() => undefined);
      throw known;
    };
    const error = await errorOf(start(swallow, { commitOnError }));
    expect(error).toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'failed-statement',
      cause: { code: '22012' },
    });
  });

  it.each(runners)(
    'F4: %s: a commit that fails without a cause gets the error',
    async (_, start) => {
      const mark = async (): Promise<never> => {
        await insert('undone');
        api.rollbackOnly();
        throw known;
      };
      const error = await errorOf(start(mark, { commitOnError }));
      expect(error).toMatchObject(refused());
      expect((error as Error).cause).toBe(known);
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it.each(runners)('S2: %s refuses a policy that returns a promise', async (_, start) => {
    const promising = { commitOnError: (async () => true) as never };
    const error = await errorOf(start(failing(known), promising));
    expect(error).toBeInstanceOf(InvalidOptionsError);
    expect((error as Error).message).toContain('commitOnError returned a promise');
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it("C2: atomic() with current: 'savepoint' refuses it, and the block does not run", async () => {
    let calls = 0;
    await run(async () => {
      await insert('before');
      const error = await errorOf(
        api.atomic(
          async () => {
            calls += 1;
          },
          { current: 'savepoint', commitOnError },
        ),
      );
      expect(error).toMatchObject({
        constructor: InvalidOptionsError,
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining("commitOnError with current: 'savepoint'"),
      });
    });
    expect(calls).toBe(0);
    expect(shared.world.proxy.log.filter((sql) => sql.startsWith('savepoint'))).toEqual([]);
    expect(await shared.world.savedTexts()).toEqual(['before']);
  });

  it('S8: a run() that joins settles nothing, and refuses the option', async () => {
    const joined = run(() => run(failing(known), { commitOnError }));
    await expect(joined).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C5: the hooks are those of a commit', async () => {
    const calls: string[] = [];
    await errorOf(
      run(
        async () => {
          await insert('saved');
          shared.dbContext.onCommit(() => calls.push('commit'));
          shared.dbContext.onRollback(() => calls.push('rollback'));
          throw known;
        },
        { commitOnError },
      ),
    );
    expect(calls).toEqual(['commit']);
  });
});
