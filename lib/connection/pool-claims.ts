import type { PgClient, PgPool } from './pg-client.js';

/** Who holds connections or waits for one: a unit of work, perhaps inside of another one. */
export interface Holder {
  /** The unit of work that goes on only when this one has ended. */
  readonly outer: Holder | undefined;
}

/** The claim of one transaction on a connection. */
export interface Claim {
  readonly holder: Holder | undefined;
  /** Whether the connection is at work, so that it may come back by itself. */
  readonly isBusy: boolean;
}

/**
 * Who holds the connections of a pool, and who waits for one. Nobody can ever be served when each
 * holder has, by itself or by a unit of work inside of it, yet another claim that waits.
 */
export class PoolClaims {
  readonly #pool: PgPool;
  readonly #held = new Map<PgClient, Claim>();
  readonly #waiting = new Set<Claim>();

  private constructor(pool: PgPool) {
    this.#pool = pool;
    pool.on('release', (_error, client) => this.#held.delete(client));
  }

  /** The claims on a pool; one list for all connection names that share it. */
  static of(pool: PgPool): PoolClaims {
    let claims = known.get(pool);
    if (claims === undefined) {
      claims = new PoolClaims(pool);
      known.set(pool, claims);
    }
    return claims;
  }

  waitsFor(claim: Claim): void {
    this.#waiting.add(claim);
  }

  got(claim: Claim, client: PgClient): void {
    this.#waiting.delete(claim);
    this.#held.set(client, claim);
  }

  gaveUp(claim: Claim): void {
    this.#waiting.delete(claim);
  }

  /** Whether all connections are held by those who wait. Somebody has to give up then. */
  get isDeadlocked(): boolean {
    // What others took from the pool, nobody here knows the state of.
    if (this.#held.size < this.#pool.options.max) {
      return false;
    }
    const blocked = new Set<Holder>();
    for (const { holder } of this.#waiting) {
      for (let each = holder; each !== undefined && !blocked.has(each); each = each.outer) {
        blocked.add(each);
      }
    }
    return [...this.#held.values()].every(
      ({ holder, isBusy }) => holder !== undefined && blocked.has(holder) && !isBusy,
    );
  }
}

const known = new WeakMap<PgPool, PoolClaims>();
