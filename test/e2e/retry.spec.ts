import { DeadlockException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InvalidTransactionStateError } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

let world: TestWorld;
let session: EntityManager;
const calls: string[] = [];

beforeAll(async () => {
  world = await startWorld({ acquireTimeoutMs: 15_000 });
  session = world.session();
});

afterAll(() => world.close());

beforeEach(async () => {
  calls.length = 0;
  await world.database.query('truncate note restart identity');
  await world.database.query(`insert into note (id, text) values (100, '0')`);
});

afterEach(async () => {
  await world.serverIsIdle();
  expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
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
    await expect(world.dbContext.run(() => attempt('40001'))).rejects.toThrow();
    await expect(
      world.dbContext.run(() => attempt('22012'), { retry: { attempts: 5 } }),
    ).rejects.toThrow();
    expect(calls).toEqual(['40001', '22012']);
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
});
