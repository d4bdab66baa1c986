import { InvalidOptionsError } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

describe('runAllInNewContexts()', () => {
  const at = useWorld(() => startWorld({ poolMax: 6 }));

  it('C3: returns the results in order, each from a transaction of its own', async () => {
    await at.run(async () => {
      const outer = await at.xid();
      const xids = await at.dbContext.runAllInNewContexts(
        Array.from({ length: 7 }, () => () => at.xid()),
      );
      expect(new Set([outer, ...xids]).size).toBe(8);
    });
    const mixed = await at.dbContext.runAllInNewContexts([() => 1, async () => 'two']);
    expect(mixed).toEqual([1, 'two']);
    expect(await at.dbContext.runAllInNewContexts([])).toEqual([]);
  });

  it.each<readonly [string, { concurrency?: number }, number]>([
    ['half of the pool', {}, 3],
    ['as many as the option says', { concurrency: 4 }, 4],
    ['all that there are', { concurrency: 6 }, 6],
  ])('C3: holds at most %s at the same time', async (_, options, expected) => {
    let most = 0;
    await at.dbContext.runAllInNewContexts(
      Array.from({ length: 20 }, (__, i) => async () => {
        await at.insert(`note ${i}`);
        most = Math.max(most, at.world.pool().checkedOut);
        await at.session.execute('select pg_sleep(0.01)');
      }),
      options,
    );
    expect(most).toBe(expected);
    expect(await at.world.savedTexts()).toHaveLength(20);
  });

  it('C3: after a failure starts nothing more, and waits for what runs', async () => {
    const mayEnd = deferred();
    const started: string[] = [];
    const slow = async (): Promise<void> => {
      started.push('slow');
      await at.insert('slow');
      await mayEnd.promise;
    };
    const failing = async (): Promise<void> => {
      started.push('failing');
      await at.insert('failing');
      // The other one still has a COMMIT to send when this one is over.
      at.dbContext.onRollback(() => mayEnd.resolve());
      throw new Error('the first');
    };
    const never = async (): Promise<void> => {
      started.push('never');
    };
    await expect(
      at.dbContext.runAllInNewContexts([slow, failing, never], { concurrency: 2 }),
    ).rejects.toThrow('the first');
    expect(started).toEqual(['slow', 'failing']);
    expect(await at.world.savedTexts()).toEqual(['slow']);
  });

  it('C3: throws the first failure, also when it is undefined', async () => {
    const both = deferred();
    const first = async (): Promise<never> => {
      await both.promise;
      throw undefined;
    };
    const second = async (): Promise<never> => {
      both.resolve();
      await both.promise;
      await at.xid();
      throw new Error('the second');
    };
    await expect(
      at.dbContext.runAllInNewContexts([first, second], { concurrency: 2 }),
    ).rejects.toBeUndefined();
  });

  it('C7: runs one again that the server had to undo', async () => {
    let attempts = 0;
    const refused = async (): Promise<number> => {
      await at.insert(`attempt ${++attempts}`);
      if (attempts === 1) {
        await at.session.execute(
          "do $$ begin raise exception 'met' using errcode = '40001'; end $$",
        );
      }
      return attempts;
    };
    const results = await at.dbContext.runAllInNewContexts([refused], {
      retry: { attempts: 2, backoffMs: 1 },
    });
    expect(results).toEqual([2]);
    expect(await at.world.savedTexts()).toEqual(['attempt 2']);
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '2' as never])(
    'C3: refuses a concurrency of %s',
    async (concurrency) => {
      await expect(
        at.dbContext.runAllInNewContexts([() => at.insert('never')], { concurrency }),
      ).rejects.toBeInstanceOf(InvalidOptionsError);
      expect(await at.world.savedTexts()).toEqual([]);
    },
  );
});
