import { Controller, Post } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DbContext, InjectSession, UnexpectedRollbackError } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** The server refuses the commit of what it does: a deferred unique constraint is violated. */
async function violate(session: EntityManager): Promise<void> {
  await session.execute('set constraints note_text_unique deferred');
  await session.insert(Note, { text: 'row' });
  await session.insert(Note, { text: 'row' });
}

@Controller()
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('swallowed')
  async swallow(): Promise<string> {
    await violate(this.session);
    await this.session.commit().catch(() => undefined);
    return 'ok';
  }

  @Post('undone')
  async undo(): Promise<string> {
    await violate(this.session);
    await this.dbContext.commit().catch(() => this.dbContext.rollback());
    await this.session.insert(Note, { text: 'instead' });
    return 'ok';
  }
}

/** Loses what it was to write, and has sent nothing. */
async function failFlush(session: EntityManager): Promise<void> {
  let isRefusing = true;
  // It cannot be taken out again.
  session.getEventManager().registerSubscriber({
    beforeFlush: async () => {
      if (isRefusing) {
        throw new RangeError('the flush');
      }
    },
  });
  session.persist(new Note('lost'));
  await expect(session.flush()).rejects.toEqual(new RangeError('the flush'));
  isRefusing = false;
}

const FAILED_BEFORE = {
  code: 'UNEXPECTED_ROLLBACK',
  reason: 'failed-before',
  connectionName: 'default',
  cause: expect.objectContaining({ name: 'UniqueConstraintViolationException' }) as unknown,
};

describe('an early commit that failed', () => {
  const current = useWorld(() => startWorld({}, { controllers: [NotesController] }));

  const COMMITS: Record<string, () => Promise<void>> = {
    'session.commit()': () => current.session.commit(),
    'dbContext.commit()': () => current.dbContext.commit(),
    'dbContext.commitAll()': () => current.dbContext.commitAll(),
    'dbContext.atomic(), which commits it first': () => current.dbContext.atomic(() => undefined),
    'dbContext.atomic() with retry': () =>
      current.dbContext.atomic(() => undefined, { retry: { attempts: 3, backoffMs: 0 } }),
  };
  const LATER: Record<string, () => Promise<unknown>> = {
    nothing: () => Promise.resolve(),
    'a read': () => current.session.count(Note),
    'a write': () => current.insert('later'),
    'a persist()': async () => void current.session.persist(new Note('later')),
    'a close()': () => current.dbContext.close(),
    'a write and a close()': async () => {
      await current.insert('closed');
      await current.dbContext.close();
    },
    'a popSession()': async () => {
      current.session.getContext(false);
      await current.dbContext.popSession()?.rollback();
    },
    'an atomic() block that succeeds': () => current.dbContext.atomic(() => undefined),
    'an atomic() block that throws': () =>
      current.dbContext
        .atomic(async () => {
          await current.insert('undone');
          throw new Error('the block');
        })
        .catch(() => undefined),
  };

  describe.each(Object.entries(COMMITS))('%s', (_, commit) => {
    it.each(Object.entries(LATER))(
      'F4: with %s after it, the context cannot succeed',
      async (_what, later) => {
        const hooks: string[] = [];
        const error: unknown = await current
          .run(async () => {
            current.dbContext.onCommit(() => hooks.push('onCommit'));
            await violate(current.session);
            await commit().catch(() => undefined);
            await later();
          })
          .catch((each: unknown) => each);
        expect(error).toBeInstanceOf(UnexpectedRollbackError);
        expect(error).toMatchObject(FAILED_BEFORE);
        expect(hooks).toEqual([]);
        expect(await current.world.savedTexts()).toEqual([]);
      },
    );
  });

  it('F4: a flush that fails in an early commit forbids the success as well', async () => {
    const run = current.run(async () => {
      await current.insert('row');
      current.session.persist([new Note('row'), new Note('other')]);
      await current.session.commit().catch(() => undefined);
    });
    await expect(run).rejects.toMatchObject(FAILED_BEFORE);
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('F4, C1: what was committed before stays, and what was done after is undone', async () => {
    const run = current.run(async () => {
      await current.insert('before');
      await current.session.commit();
      await violate(current.session);
      await current.session.commit().catch(() => undefined);
      await current.insert('after');
    });
    await expect(run).rejects.toMatchObject(FAILED_BEFORE);
    expect(await current.world.savedTexts()).toEqual(['before']);
  });

  it('F4, C2: a block that fails inside of, and rethrows, has told its caller', async () => {
    await current.run(async () => {
      const block = current.dbContext.atomic(async () => {
        await violate(current.session);
        await current.session.commit();
      });
      await expect(block).rejects.toMatchObject({ name: 'UniqueConstraintViolationException' });
      await current.insert('kept');
    });
    expect(await current.world.savedTexts()).toEqual(['kept']);
  });

  it('F4: one that is being rolled back as the context ends forbids the success', async () => {
    const { proxy } = current.world;
    const [rollingBack, mayRollBack] = [deferred(), deferred()];
    proxy.onStatement = async (sql) => {
      if (/^rollback/i.test(sql)) {
        proxy.onStatement = undefined;
        rollingBack.resolve();
        await mayRollBack.promise;
      }
    };
    let commit: Promise<unknown> | undefined;
    const run = current.run(async () => {
      await current.insert('row');
      current.dbContext.beforeCommit(
        () => {
          throw new RangeError('vetoed');
        },
        { connection: 'default' },
      );
      commit = current.session.commit().catch((error: unknown) => error);
      await rollingBack.promise;
      // By another session: the first one has failed.
      await current.insert('instead');
    });
    try {
      await expect(run).rejects.toMatchObject({
        ...FAILED_BEFORE,
        cause: new RangeError('vetoed'),
      });
    } finally {
      mayRollBack.resolve();
    }
    expect(await commit).toEqual(new RangeError('vetoed'));
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('F4, C2: a block that swallows it cannot succeed, and its caller may go on', async () => {
    const answers: unknown[] = [];
    await current.run(async () => {
      await current.dbContext
        .atomic(async () => {
          await violate(current.session);
          await current.dbContext.atomic(() => undefined).catch((error) => answers.push(error));
          await current.insert('in the block');
        })
        .catch((error) => answers.push(error));
      await current.insert('after');
    });
    expect(answers).toMatchObject([{ name: 'UniqueConstraintViolationException' }, FAILED_BEFORE]);
    expect(await current.world.savedTexts()).toEqual(['after']);
  });

  it.each(['commit', 'append', 'rollback', 'raise'] as const)(
    'F4, C2: no block is committed after it, with current: %j',
    async (mode) => {
      let block: Promise<unknown> | undefined;
      const run = current.run(async () => {
        await violate(current.session);
        await current.session.commit().catch(() => undefined);
        block = current.dbContext.atomic(() => current.insert('block'), { current: mode });
        await block.catch(() => undefined);
      });
      await expect(run).rejects.toMatchObject(FAILED_BEFORE);
      await expect(block).rejects.toMatchObject(FAILED_BEFORE);
      expect(await current.world.savedTexts()).toEqual([]);
    },
  );

  it.each(
    (['commit', 'append', 'raise', 'savepoint'] as const).flatMap((mode) =>
      (['succeeds', 'throws'] as const).map((end) => [mode, end] as const),
    ),
  )(
    'F4, C2: a flush that has failed before an atomic() with current: %s that %s forbids the success',
    async (mode, end) => {
      const run = current.run(async () => {
        await failFlush(current.session);
        await current.dbContext
          .atomic(
            async () => {
              await current.insert('block');
              if (end === 'throws') {
                throw new RangeError('the block');
              }
            },
            { current: mode },
          )
          .catch(() => undefined);
        await current.insert('later').catch(() => undefined);
      });
      await expect(run).rejects.toMatchObject({ code: 'UNEXPECTED_ROLLBACK' });
      expect(await current.world.savedTexts()).toEqual([]);
    },
  );

  it('C2: what comes before a block is not undone by a retry of the block', async () => {
    let runs = 0;
    const work = current.run(async () => {
      await current.insert('before');
      await current.session
        .execute(`do $$ begin raise exception 'x' using errcode = '40001'; end $$`)
        .catch(() => undefined);
      await current.dbContext
        .atomic(() => current.insert(`run ${(runs += 1)}`), {
          retry: { attempts: 3, backoffMs: 0 },
        })
        .catch(() => undefined);
    });
    await expect(work).rejects.toMatchObject({ code: 'UNEXPECTED_ROLLBACK' });
    expect(runs).toBe(0);
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('F4, C4: newAtomicSession() cannot succeed either', async () => {
    const run = current.dbContext.newAtomicSession(async (own: EntityManager) => {
      await violate(own);
      await own.commit().catch(() => undefined);
    });
    await expect(run).rejects.toMatchObject(FAILED_BEFORE);
  });

  it.each<[string, () => Promise<unknown>]>([
    [
      'newAtomicSession()',
      () =>
        current.dbContext.newAtomicSession(async (own: EntityManager) => {
          await violate(own);
          await own.commit().catch(() => own.rollback());
          own.create(Note, { text: 'instead' });
        }),
    ],
    [
      'newSession()',
      () =>
        current.dbContext.newSession(async (own: EntityManager) => {
          await violate(own);
          await own.commit().catch(() => own.rollback());
          await own.insert(Note, { text: 'instead' });
          await own.commit();
        }),
    ],
    [
      'getSession()',
      () =>
        current.run(async () => {
          await violate(current.session);
          const own = current.dbContext.getSession() as EntityManager;
          await own.commit().catch(() => own.rollback());
          own.create(Note, { text: 'instead' });
        }),
    ],
  ])('F4, C4: what is done after the rollback() of %s is saved', async (_, run) => {
    await run();
    expect(await current.world.savedTexts()).toEqual(['instead']);
  });

  it('F4: what is done after the rollback() of a session that another one has taken the place of is refused', async () => {
    await current.run(async () => {
      await violate(current.session);
      const own = current.dbContext.getSession() as EntityManager;
      await own.commit().catch(() => current.dbContext.rollback());
      await current.insert('by the other');
      await own.rollback();
      await expect(current.insert('by the first', own)).rejects.toMatchObject({
        code: 'SESSION_CLOSED',
      });
    });
    expect(await current.world.savedTexts()).toEqual(['by the other']);
  });

  it('F4, S1: the client is told of a failure', async () => {
    const { status } = await current.world.fetch('/swallowed', { method: 'POST' });
    expect([status, await current.world.savedTexts()]).toEqual([500, []]);
  });

  it('F4, C1: rollback() says that the loss is known', async () => {
    const { status } = await current.world.fetch('/undone', { method: 'POST' });
    expect([status, await current.world.savedTexts()]).toEqual([201, ['instead']]);
  });
});
