import { DeadlockException, DriverException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  CommitOutcomeUnknownError,
  InvalidOptionsError,
  InvalidTransactionStateError,
  PartialCommitError,
  RetryOnSerializationFailure,
  type RetryOptions,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const shared = useWorld(() => startWorld({ acquireTimeoutMs: 15_000 }));
let world: TestWorld;
let session: EntityManager;
const calls: string[] = [];

beforeAll(() => {
  ({ world, session } = shared);
});

beforeEach(async () => {
  calls.length = 0;
  await world.database.query(`insert into note (id, text) values (100, '0')`);
});

const counter = async (): Promise<number> => {
  const [row] = await world.database.query<{ text: string }>(
    'select text from note where id = 100',
  );
  return Number(row!.text);
};
const increment = async (): Promise<void> => {
  const note = await session.findOneOrFail(Note, 100);
  note.text = String(Number(note.text) + 1);
};
/** What the server says when a transaction met another one. */
const failWith = (code: string): Promise<unknown> =>
  session.execute(
    `do $$ begin raise exception 'met another one' using errcode = '${code}'; end $$`,
  );

describe('retry', () => {
  it('C5, C7: 50 concurrent serialisable increments of one counter end at 50', async () => {
    await Promise.all(
      Array.from({ length: 50 }, () =>
        world.dbContext.run(() =>
          world.dbContext.atomic(increment, {
            isolationLevel: 'serializable',
            retry: { attempts: 100, backoffMs: 5 },
          }),
        ),
      ),
    );
    expect(await counter()).toBe(50);
  });

  it.each(['40001', '40P01'])(
    'C5: run() runs again on %s, with a new session each',
    async (code) => {
      const sessions = new Set<unknown>();
      const result = await world.dbContext.run(
        async () => {
          sessions.add(world.dbContext.session());
          await session.execute('select 1');
          sessions.add(world.dbContext.getSession());
          const attempt = calls.push('attempt');
          world.dbContext.onCommit(() => calls.push(`committed attempt ${attempt}`));
          await session.insert(Note, { text: `attempt ${attempt}` });
          if (attempt < 3) {
            await failWith(code);
          }
          return attempt;
        },
        { retry: { attempts: 3, backoffMs: 1 } },
      );
      expect(result).toBe(3);
      expect(calls).toEqual(['attempt', 'attempt', 'attempt', 'committed attempt 3']);
      expect(sessions.size).toBe(4);
      expect(await world.savedTexts()).toEqual(['attempt 3', '0']);
    },
  );

  it('C5: the error of the last attempt is the one reported', async () => {
    await expect(
      world.dbContext.runInNewContext(
        async () => {
          calls.push('attempt');
          await failWith('40001');
        },
        { retry: { attempts: 2, backoffMs: 1 } },
      ),
    ).rejects.toBeInstanceOf(DeadlockException);
    expect(calls).toHaveLength(2);
  });

  it('C5: a failure that was swallowed is run again, too', async () => {
    await world.dbContext.run(
      async () => {
        await session.insert(Note, { text: 'kept' });
        if (calls.push('attempt') === 1) {
          await failWith('40001').catch(() => undefined);
        }
      },
      { retry: { attempts: 2, backoffMs: 1 } },
    );
    expect(calls).toHaveLength(2);
    expect(await world.savedTexts()).toContain('kept');
  });

  it('C5: nothing is run again by default, nor for another reason', async () => {
    const attempt = async (code: string): Promise<void> => {
      calls.push(code);
      await failWith(code);
    };
    await expect(world.dbContext.run(() => attempt('40001'))).rejects.toMatchObject({
      constructor: DeadlockException,
      code: '40001',
      message: 'met another one',
    });
    await expect(
      world.dbContext.run(() => attempt('22012'), { retry: { attempts: 5 } }),
    ).rejects.toMatchObject({
      constructor: DriverException,
      code: '22012',
      message: 'met another one',
    });
    expect(calls).toEqual(['40001', '22012']);
  });

  it('C5: what has committed a part early is not run again: that part would be done twice', async () => {
    const fail = async (): Promise<void> => {
      calls.push('attempt');
      await increment();
      await world.dbContext.commit();
      await failWith('40001');
    };
    const retry = { attempts: 5, backoffMs: 1 };
    const runs = [
      () => world.dbContext.run(fail, { retry }),
      () => world.dbContext.runInNewContext(fail, { retry }),
      () => world.dbContext.run(() => world.dbContext.atomic(fail, { retry })),
    ];
    for (const [index, run] of runs.entries()) {
      await expect(run()).rejects.toMatchObject({ code: '40001' });
      expect(calls).toHaveLength(index + 1);
      expect(await counter()).toBe(index + 1);
    }
  });

  it('C5: an earlier block does not keep a later one from being run again', async () => {
    await world.dbContext.run(async () => {
      await world.dbContext.atomic(increment);
      await world.dbContext.atomic(
        async () => {
          calls.push('attempt');
          await increment();
          if (calls.length < 3) {
            await failWith('40P01');
          }
        },
        { retry: { attempts: 3, backoffMs: 1 } },
      );
    });
    expect(await counter()).toBe(2);
    expect(calls).toHaveLength(3);
  });

  it('C5: what a block committed to make way for itself was no part of it', async () => {
    await world.dbContext.run(async () => {
      await increment();
      await world.dbContext.atomic(
        async () => {
          calls.push('attempt');
          await increment();
          if (calls.length < 2) {
            await failWith('40P01');
          }
        },
        { current: 'commit', retry: { attempts: 2, backoffMs: 1 } },
      );
    });
    expect(await counter()).toBe(2);
  });

  it('C2: a block that appends to an open transaction is not run again alone', async () => {
    await world.dbContext
      .run(async () => {
        await session.insert(Note, { text: 'before' });
        await world.dbContext.atomic(
          async () => {
            calls.push('attempt');
            await failWith('40001');
          },
          { current: 'append', retry: { attempts: 3, backoffMs: 1 } },
        );
      })
      .catch(() => undefined);
    expect(calls).toEqual(['attempt']);
  });

  it('C2: a savepoint cannot be run again', async () => {
    await expect(
      world.dbContext.run(() =>
        world.dbContext.atomic(() => undefined, {
          current: 'savepoint',
          retry: { attempts: 2 },
        }),
      ),
    ).rejects.toBeInstanceOf(InvalidTransactionStateError);
  });

  it.each([
    new PartialCommitError([], { code: '40001' }),
    new CommitOutcomeUnknownError('default', { code: '40001' }),
  ])('C5, M2: what may be saved is not done again: $code', async (error) => {
    await expect(
      world.dbContext.run(
        () => {
          calls.push('attempt');
          throw error;
        },
        { retry: { attempts: 3, backoffMs: 1 } },
      ),
    ).rejects.toBe(error);
    expect(calls).toEqual(['attempt']);
  });

  describe.each<[RetryOptions | null, string]>([
    [{ attempts: 1 }, 'attempts: 1'],
    [{ attempts: 0 }, 'attempts: 0'],
    [{ attempts: 2.5 }, 'attempts: 2.5'],
    [{ attempts: Number.NaN }, 'attempts: NaN'],
    [{ attempts: Infinity }, 'attempts: Infinity'],
    [{ attempts: '3' as never }, 'attempts: 3'],
    [{} as RetryOptions, 'attempts: undefined'],
    [{ attempts: 2, backoffMs: -1 }, 'backoffMs: -1'],
    [{ attempts: 2, backoffMs: Number.NaN }, 'backoffMs: NaN'],
    [{ attempts: 2, backoffMs: 2 ** 31 }, 'backoffMs: 2147483648'],
    [{ attempts: 2, backoffMs: '5' as never }, 'backoffMs: 5'],
    [{ attempts: 2, delay: 5 } as RetryOptions, 'delay: 5'],
    [null, 'is null'],
  ])('with options that cannot be, %j', (retry, says) => {
    it('C7: the decorator throws as the class is loaded', () => {
      const decorate = (): unknown => RetryOnSerializationFailure(retry as RetryOptions);
      expect(decorate).toThrow(InvalidOptionsError);
      expect(decorate).toThrow(says);
    });

    it('C5: nothing is run', async () => {
      const options = { retry: retry as RetryOptions };
      const work = (): number => calls.push('attempt');
      for (const run of [
        () => world.dbContext.run(work, options),
        () => world.dbContext.runInNewContext(work, options),
        () => world.dbContext.run(() => world.dbContext.atomic(work, options)),
      ]) {
        await expect(run()).rejects.toThrow(says);
        await expect(run()).rejects.toBeInstanceOf(InvalidOptionsError);
      }
      expect(calls).toEqual([]);
    });
  });

  it('C5: no pause, and a thousand attempts, are fine', async () => {
    await world.dbContext.run(
      () => {
        if (calls.push('attempt') < 2_000) {
          throw Object.assign(new Error('again'), { code: '40001' });
        }
      },
      { retry: { attempts: 2_000, backoffMs: 0 } },
    );
    expect(calls).toHaveLength(2_000);
  });
});
