import { EventEmitter } from 'node:events';

import type { Claim, Holder } from '../../lib/connection/claim.js';
import { PoolDeadlockDetector } from '../../lib/connection/pool-deadlock-detector.js';
import type { Wait } from '../../lib/connection/wait-list.js';
import type { PgClient, PgPool } from '../../lib/postgresql/pg-client.js';

const { jest } = import.meta;
const aPool = (max: number): PgPool & EventEmitter =>
  Object.assign(new EventEmitter(), { options: { max } }) as never;
const aClient = (): PgClient => ({}) as PgClient;
const inside = (outer?: Holder): Holder => ({ outer });
const ignore = (): void => undefined;
const claimOf = (holder?: Holder, isBusy = false): Claim => ({ holder, isBusy });

let waits = 0;
/** The wait of a unit of work in a pool. */
const waitIn = (pool: PgPool, holder?: Holder, how: Partial<Wait> = {}): Wait => ({
  claim: claimOf(holder),
  pool,
  since: waits++,
  until: Infinity,
  expire: ignore,
  refuse: ignore,
  moveTo: ignore,
  hurry: ignore,
  ...how,
});

describe('the deadlock detector of a pool', () => {
  it('C3: finds a deadlock as long as every holder waits, and no longer', () => {
    const pool = aPool(2);
    const claims = PoolDeadlockDetector.of(pool);
    const [a, b] = [inside(), inside()];
    const ofB = aClient();
    claims.got(claimOf(a), aClient());
    claims.got(claimOf(b), ofB);
    const inner = waitIn(pool, inside(a));
    claims.waitsFor(inner);
    expect(claims.isDeadlocked).toBe(false);
    claims.waitsFor(waitIn(pool, b));
    expect(claims.isDeadlocked).toBe(true);
    // A claim that is refused frees the others.
    claims.gaveUp(inner);
    expect(claims.isDeadlocked).toBe(false);
    claims.waitsFor(inner);
    expect(claims.isDeadlocked).toBe(true);
    // A client that is given back, or destroyed, is held by no claim any more.
    pool.emit('release', undefined, ofB);
    expect(claims.isDeadlocked).toBe(false);
  });

  it('C3: finds none while a holder is at work or is not known', () => {
    const pool = aPool(1);
    const claims = PoolDeadlockDetector.of(pool);
    const holder = inside();
    const client = aClient();
    claims.waitsFor(waitIn(pool, inside(inside(holder))));
    claims.got(claimOf(holder, true), client);
    expect(claims.isDeadlocked).toBe(false);
    claims.got(claimOf(undefined), client);
    expect(claims.isDeadlocked).toBe(false);
    claims.got(claimOf(holder), client);
    expect(claims.isDeadlocked).toBe(true);
  });

  it('H1: in a retired pool the waiting claims move on, and are deadlocked there no more', () => {
    const [old, next, last] = [aPool(1), aPool(1), aPool(1)];
    const holder = inside();
    const claims = PoolDeadlockDetector.of(old);
    const held = claimOf(holder);
    const client = aClient();
    claims.got(held, client);
    const moves: PgPool[] = [];
    const waiting = waitIn(old, inside(holder), {
      moveTo: (successor) => {
        claims.gaveUp(waiting);
        moves.push(successor);
      },
    });
    claims.waitsFor(waiting);
    expect(claims.isDeadlocked).toBe(true);
    claims.retire(next);
    expect(moves).toEqual([next]);
    expect(claims.isDeadlocked).toBe(false);
    expect([...claims.held]).toEqual([[client, held]]);
    PoolDeadlockDetector.of(next).retire(last);
    expect([old, next, last].map((each) => PoolDeadlockDetector.latestOf(each))).toEqual([
      last,
      last,
      last,
    ]);
  });

  it('C3: refuses the last claim that came, after two looks between which nothing moved', () => {
    jest.useFakeTimers();
    try {
      const pool = aPool(1);
      const claims = PoolDeadlockDetector.of(pool);
      const holder = inside();
      const client = aClient();
      const refused: string[] = [];
      claims.got(claimOf(holder), client);
      const [first, last] = ['first', 'last'].map((name) =>
        waitIn(pool, inside(holder), { refuse: () => refused.push(name) }),
      ) as [Wait, Wait];
      claims.waitsFor(first);
      claims.waitsFor(last);
      claims.watch(100);
      jest.advanceTimersByTime(199);
      expect(refused).toEqual([]);
      // A client that is released is a move, so the two looks begin anew.
      pool.emit('release', undefined, aClient());
      jest.advanceTimersByTime(1);
      expect(refused).toEqual([]);
      jest.advanceTimersByTime(100);
      expect(refused).toEqual(['last']);
      claims.gaveUp(last);
      claims.gaveUp(first);
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  it('is one for all that share a pool', () => {
    const pool = aPool(1);
    expect(PoolDeadlockDetector.of(pool)).toBe(PoolDeadlockDetector.of(pool));
    expect(PoolDeadlockDetector.of(pool)).not.toBe(PoolDeadlockDetector.of(aPool(1)));
  });
});

describe('the deadlock detectors of several pools', () => {
  /** Two units of work, each of which holds the only client of one pool and waits for the other. */
  const crossed = (
    one: PgPool,
    two: PgPool,
  ): { readonly refused: string[]; readonly waits: readonly [Wait, Wait] } => {
    const [a, b] = [inside(), inside()];
    const refused: string[] = [];
    const [first, second] = [PoolDeadlockDetector.of(one), PoolDeadlockDetector.of(two)];
    first.got(claimOf(a), aClient());
    second.got(claimOf(b), aClient());
    const ofA = waitIn(two, inside(a), {
      refuse: () => {
        refused.push('a');
        second.gaveUp(ofA);
      },
    });
    const ofB = waitIn(one, b, {
      refuse: () => {
        refused.push('b');
        first.gaveUp(ofB);
      },
    });
    second.waitsFor(ofA);
    first.waitsFor(ofB);
    return { refused, waits: [ofA, ofB] };
  };

  it('C3: find a deadlock across two pools, and none as soon as one claim gives up', () => {
    const [one, two] = [aPool(1), aPool(1)];
    const { waits: crossing } = crossed(one, two);
    const detectors = [one, two].map((each) => PoolDeadlockDetector.of(each));
    expect(detectors.map(({ isDeadlocked }) => isDeadlocked)).toEqual([true, true]);
    detectors[1]!.gaveUp(crossing[0]);
    expect(detectors.map(({ isDeadlocked }) => isDeadlocked)).toEqual([false, false]);
  });

  it('C3: find a deadlock in a ring of three pools, and none where one pool has a free client', () => {
    const pools = [aPool(1), aPool(1), aPool(2)];
    const holders = pools.map(() => inside());
    const third = PoolDeadlockDetector.of(pools[2]!);
    pools.forEach((pool, index) => {
      PoolDeadlockDetector.of(pool).got(claimOf(holders[index]), aClient());
      const next = pools[(index + 1) % 3]!;
      PoolDeadlockDetector.of(next).waitsFor(waitIn(next, holders[index]));
    });
    const found = (): boolean[] => pools.map((each) => PoolDeadlockDetector.of(each).isDeadlocked);
    expect(found()).toEqual([false, false, false]);
    third.got(claimOf(holders[0]), aClient());
    expect(found()).toEqual([true, true, true]);
  });

  it('C3: refuse one claim of all pools, the last that holds up others, within two looks', () => {
    jest.useFakeTimers();
    try {
      const [one, two] = [aPool(1), aPool(1)];
      const { refused, waits: crossing } = crossed(one, two);
      // A newcomer holds nothing, so refusing it would free nobody.
      const newcomer = waitIn(one, inside(), { refuse: () => refused.push('newcomer') });
      PoolDeadlockDetector.of(one).waitsFor(newcomer);
      [one, two].forEach((each) => PoolDeadlockDetector.of(each).watch(100));
      jest.advanceTimersByTime(199);
      expect(refused).toEqual([]);
      jest.advanceTimersByTime(1);
      expect(refused).toEqual(['b']);
      jest.advanceTimersByTime(1_000);
      expect(refused).toEqual(['b']);
      PoolDeadlockDetector.of(two).gaveUp(crossing[0]);
      PoolDeadlockDetector.of(one).gaveUp(newcomer);
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  it('C3: keep a pool out of it whose holders wait for a pool that still serves', () => {
    const [stuck, serving] = [aPool(1), aPool(1)];
    const [a, b] = [inside(), inside()];
    PoolDeadlockDetector.of(stuck).got(claimOf(a), aClient());
    PoolDeadlockDetector.of(serving).got(claimOf(b), aClient());
    PoolDeadlockDetector.of(serving).waitsFor(waitIn(serving, a));
    PoolDeadlockDetector.of(stuck).waitsFor(waitIn(stuck, inside()));
    // b waits for nothing, so it gives its client back one day: a is then served.
    expect([stuck, serving].map((each) => PoolDeadlockDetector.of(each).isDeadlocked)).toEqual([
      false,
      false,
    ]);
  });
});
