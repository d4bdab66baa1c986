import { TransactionTimeoutError } from 'nestjs-db-context';

import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const { jest } = import.meta;

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Everything that jest replaces but `Date`, as docs/testing.md has it. */
const ALL_BUT_DATE = [
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'setTimeout',
  'clearTimeout',
] as const;
/** What the wire needs to go on while the timers of the library stand still. */
const WIRE = ['nextTick', 'queueMicrotask', 'setImmediate', 'clearImmediate'] as const;

describe('fake clocks of tests', () => {
  const at = useWorld(startWorld, { hasLateWork: true });

  afterEach(() => {
    jest.useRealTimers();
  });

  it('F6: a clock that moves a day on inside of a transaction ends it', async () => {
    await expect(
      at.run(async () => {
        jest.useFakeTimers({ doNotFake: [...WIRE] });
        await at.insert('of yesterday');
        jest.advanceTimersByTime(DAY_MS);
        jest.useRealTimers();
        await at.insert('of today');
      }),
    ).rejects.toBeInstanceOf(TransactionTimeoutError);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F6: with the date alone replaced it lives', async () => {
    const before = Date.now();
    await at.run(async () => {
      jest.useFakeTimers({ doNotFake: [...ALL_BUT_DATE] });
      await at.insert('of yesterday');
      jest.setSystemTime(before + DAY_MS);
      await at.insert('of today');
      expect(Date.now()).toBeGreaterThanOrEqual(before + DAY_MS);
    });
    expect(await at.world.savedTexts()).toEqual(['of yesterday', 'of today']);
  });

  it('F6: a clock that moves between two transactions ends neither', async () => {
    jest.useFakeTimers({ doNotFake: [...WIRE] });
    await at.run(() => at.insert('of yesterday'));
    jest.advanceTimersByTime(DAY_MS);
    await at.run(() => at.insert('of today'));
    jest.useRealTimers();
    expect(await at.world.savedTexts()).toEqual(['of yesterday', 'of today']);
  });
});
