import { EventEmitter } from 'node:events';

import {
  PoolDeadlockDetector,
  type Claim,
  type Holder,
} from '../../lib/connection/pool-deadlock-detector.js';
import type { PgClient, PgPool } from '../../lib/postgresql/pg-client.js';

const { jest } = import.meta;
const aPool = (max: number): PgPool & EventEmitter =>
  Object.assign(new EventEmitter(), { options: { max } }) as never;
const aClient = (): PgClient => ({}) as PgClient;
const inside = (outer?: Holder): Holder => ({ outer });
const ignore = (): void => undefined;
const claimOf = (holder?: Holder, isBusy = false): Claim => ({ holder, isBusy });

describe('the claims on a pool', () => {
  it('C3: are deadlocked as long as every holder waits, and no longer', () => {
    const pool = aPool(2);
    const claims = PoolDeadlockDetector.of(pool);
    const [a, b] = [inside(), inside()];
    const ofB = aClient();
    claims.got(claimOf(a), aClient());
    claims.got(claimOf(b), ofB);
    const inner = claimOf(inside(a));
    claims.waitsFor(inner, ignore);
    expect(claims.isDeadlocked).toBe(false);
    claims.waitsFor(claimOf(b), ignore);
    expect(claims.isDeadlocked).toBe(true);
    // One that is refused frees the others.
    claims.gaveUp(inner);
    expect(claims.isDeadlocked).toBe(false);
    claims.waitsFor(inner, ignore);
    expect(claims.isDeadlocked).toBe(true);
    // A client that is given back, or destroyed, is nobody's.
    pool.emit('release', undefined, ofB);
    expect(claims.isDeadlocked).toBe(false);
  });

  it('C3: are not, while a holder is at work or is not known', () => {
    const claims = PoolDeadlockDetector.of(aPool(1));
    const holder = inside();
    const client = aClient();
    claims.waitsFor(claimOf(inside(inside(holder))), ignore);
    claims.got(claimOf(holder, true), client);
    expect(claims.isDeadlocked).toBe(false);
    claims.got(claimOf(undefined), client);
    expect(claims.isDeadlocked).toBe(false);
    claims.got(claimOf(holder), client);
    expect(claims.isDeadlocked).toBe(true);
  });

  it('H1: of a retired pool: those who wait move on, and are deadlocked there no more', () => {
    const [old, next, last] = [aPool(1), aPool(1), aPool(1)];
    const holder = inside();
    const claims = PoolDeadlockDetector.of(old);
    const held = claimOf(holder);
    const client = aClient();
    claims.got(held, client);
    const waiting = claimOf(inside(holder));
    const moves: PgPool[] = [];
    claims.waitsFor(waiting, ignore, (successor) => {
      claims.gaveUp(waiting);
      moves.push(successor);
    });
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

  it('C3: refuse the last one that came, after two looks in between which nothing moved', () => {
    jest.useFakeTimers();
    try {
      const pool = aPool(1);
      const claims = PoolDeadlockDetector.of(pool);
      const holder = inside();
      const client = aClient();
      const refused: string[] = [];
      claims.got(claimOf(holder), client);
      const [first, last] = [claimOf(inside(holder)), claimOf(inside(holder))];
      claims.waitsFor(first, () => refused.push('first'));
      claims.waitsFor(last, () => refused.push('last'));
      claims.watch(100);
      jest.advanceTimersByTime(199);
      expect(refused).toEqual([]);
      // Somebody comes and goes: that is a move.
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

  it('are one list for all that share a pool', () => {
    const pool = aPool(1);
    expect(PoolDeadlockDetector.of(pool)).toBe(PoolDeadlockDetector.of(pool));
    expect(PoolDeadlockDetector.of(pool)).not.toBe(PoolDeadlockDetector.of(aPool(1)));
  });
});
