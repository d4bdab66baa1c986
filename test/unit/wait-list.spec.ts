import type { PgPool } from '../../lib/postgresql/pg-client.js';
import { WaitList, type Wait } from '../../lib/connection/wait-list.js';

const { jest } = import.meta;
const ignore = (): void => undefined;

/** A claim that leaves the list when its limit is over, as each does. */
const waitUntil = (list: WaitList, untilMs: number, onExpire: () => void = ignore): Wait => {
  const wait: Wait = {
    claim: { holder: undefined, isBusy: false },
    pool: {} as PgPool,
    since: performance.now(),
    until: untilMs,
    expire: () => {
      list.delete(wait);
      onExpire();
    },
    refuse: ignore,
    moveTo: ignore,
    hurry: ignore,
  };
  list.add(wait);
  return wait;
};

describe('the claims that wait for one pool', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it('F6: each ends at its own limit, by one timer for all of them', () => {
    const list = new WaitList();
    const startedAt = performance.now();
    const ended: [string, number][] = [];
    const add = (name: string, limitMs: number): Wait =>
      waitUntil(list, startedAt + limitMs, () =>
        ended.push([name, Math.round(performance.now() - startedAt)]),
      );
    add('long', 1_000);
    add('short', 200);
    add('none', Infinity);
    const served = add('served', 150);
    add('as short', 200);
    expect(jest.getTimerCount()).toBe(1);
    list.delete(served);

    jest.advanceTimersByTime(199);
    expect(ended).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(ended).toEqual([
      ['short', 200],
      ['as short', 200],
    ]);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(800);
    expect(ended.at(-1)).toEqual(['long', 1_000]);
    expect([list.size, jest.getTimerCount()]).toEqual([1, 0]);
  });

  it('F6: has no timer when the last one has left, and one for the next', () => {
    const list = new WaitList();
    const first = waitUntil(list, performance.now() + 100);
    expect(list.delete(first)).toBe(true);
    expect([list.delete(first), jest.getTimerCount()]).toEqual([false, 0]);
    const expired: string[] = [];
    waitUntil(list, performance.now() + 50, () => expired.push('second'));
    jest.advanceTimersByTime(50);
    expect([expired, list.size]).toEqual([['second'], 0]);
  });

  it('are in the order in which they came', () => {
    const list = new WaitList();
    const waits = [300, 100, 200].map((limitMs) => waitUntil(list, performance.now() + limitMs));
    expect([...list]).toEqual(waits);
    waits.forEach((wait) => list.delete(wait));
  });
});
