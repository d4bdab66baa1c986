import { EventEmitter } from 'node:events';

import type { PgClient, PgPool } from '../../lib/connection/pg-client.js';
import { PoolClaims, type Claim, type Holder } from '../../lib/connection/pool-claims.js';

const aPool = (max: number): PgPool & EventEmitter =>
  Object.assign(new EventEmitter(), { options: { max } }) as never;
const aClient = (): PgClient => ({}) as PgClient;
const inside = (outer?: Holder): Holder => ({ outer });
const claimOf = (holder?: Holder, isBusy = false): Claim => ({ holder, isBusy });

describe('the claims on a pool', () => {
  it('C3: are deadlocked as long as every holder waits, and no longer', () => {
    const pool = aPool(2);
    const claims = PoolClaims.of(pool);
    const [a, b] = [inside(), inside()];
    const ofB = aClient();
    claims.got(claimOf(a), aClient());
    claims.got(claimOf(b), ofB);
    const inner = claimOf(inside(a));
    claims.waitsFor(inner);
    expect(claims.isDeadlocked).toBe(false);
    claims.waitsFor(claimOf(b));
    expect(claims.isDeadlocked).toBe(true);
    // One that is refused frees the others.
    claims.gaveUp(inner);
    expect(claims.isDeadlocked).toBe(false);
    claims.waitsFor(inner);
    expect(claims.isDeadlocked).toBe(true);
    // A client that is given back, or destroyed, is nobody's.
    pool.emit('release', undefined, ofB);
    expect(claims.isDeadlocked).toBe(false);
  });

  it('C3: are not, while a holder is at work or is not known', () => {
    const claims = PoolClaims.of(aPool(1));
    const holder = inside();
    const client = aClient();
    claims.waitsFor(claimOf(inside(inside(holder))));
    claims.got(claimOf(holder, true), client);
    expect(claims.isDeadlocked).toBe(false);
    claims.got(claimOf(undefined), client);
    expect(claims.isDeadlocked).toBe(false);
    claims.got(claimOf(holder), client);
    expect(claims.isDeadlocked).toBe(true);
  });

  it('are one list for all that share a pool', () => {
    const pool = aPool(1);
    expect(PoolClaims.of(pool)).toBe(PoolClaims.of(pool));
    expect(PoolClaims.of(pool)).not.toBe(PoolClaims.of(aPool(1)));
  });
});
