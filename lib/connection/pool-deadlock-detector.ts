import type { PgClient, PgPool } from '../postgresql/pg-client.js';
import type { WrittenLsns } from './written-lsns.js';

/** Who holds connections or waits for one: a unit of work, perhaps inside of another one. */
export interface Holder {
  /** The unit of work that goes on only when this one has ended. */
  readonly outer: Holder | undefined;
  /** What its reads must see, where that is kept. */
  readonly writtenLsns?: WrittenLsns | undefined;
}

/** The claim of one transaction on a connection. */
export interface Claim {
  readonly holder: Holder | undefined;
  /** Whether the connection is at work, so that it may come back by itself. */
  readonly isBusy: boolean;
  /** Whether a replica may serve it. */
  readonly mayReadReplica?: boolean;
  /** Ends the transaction at once. */
  kill?(reason: Error): void;
}

/** What can be done for a claim that waits. */
interface Waiter {
  /** Tells it that it waits in vain. */
  readonly refuse: () => void;
  /** Makes it wait for a connection of another pool. */
  readonly move: ((successor: PgPool) => void) | undefined;
}

/**
 * Who holds the connections of a pool, and who waits for one. Nobody can ever be served when each
 * holder has, by itself or by a unit of work inside of it, yet another claim that waits.
 */
export class PoolDeadlockDetector {
  readonly #pool: PgPool;
  readonly #held = new Map<PgClient, Claim>();
  readonly #waiting = new Map<Claim, Waiter>();
  #successor: PgPool | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Whether the last look found it so, and nothing has moved since. */
  #isSuspected = false;

  private constructor(pool: PgPool) {
    this.#pool = pool;
    pool.on('release', (_error, client) => {
      this.#held.delete(client);
      this.#isSuspected = false;
    });
  }

  /** The claims on a pool; one list for all connection names that share it. */
  static of(pool: PgPool): PoolDeadlockDetector {
    let claims = known.get(pool);
    if (claims === undefined) {
      claims = new PoolDeadlockDetector(pool);
      known.set(pool, claims);
    }
    return claims;
  }

  /** The pool that has taken the place of `pool`, in the end. */
  static latestOf(pool: PgPool): PgPool {
    let latest = pool;
    for (let claims = known.get(pool); claims !== undefined; claims = known.get(latest)) {
      if (claims.#successor === undefined) {
        break;
      }
      latest = claims.#successor;
    }
    return latest;
  }

  /** The clients that are held, with the claims that they are held by. */
  get held(): ReadonlyMap<PgClient, Claim> {
    return this.#held;
  }

  /** Sends those who wait to another pool, and those who come later. */
  retire(successor: PgPool): void {
    this.#successor = successor;
    for (const { move } of this.#waiting.values()) {
      move?.(successor);
    }
  }

  /**
   * @param refuse called when it is the one that has to give up
   * @param move called when it has to go on waiting elsewhere
   */
  waitsFor(claim: Claim, refuse: () => void, move?: (successor: PgPool) => void): void {
    this.#waiting.set(claim, { refuse, move });
  }

  /**
   * Looks now and then whether those who wait can be served at all, as long as anybody waits. One
   * timer for all of them: thousands may wait.
   */
  watch(intervalMs: number): void {
    this.#timer ??= setInterval(() => this.#look(), intervalMs).unref();
  }

  got(claim: Claim, client: PgClient): void {
    this.gaveUp(claim);
    this.#held.set(client, claim);
  }

  gaveUp(claim: Claim): void {
    this.#waiting.delete(claim);
    this.#isSuspected = false;
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /** Whether all connections are held by those who wait. Somebody has to give up then. */
  get isDeadlocked(): boolean {
    const held = [...this.#held.values()];
    // What others took from the pool, nobody here knows the state of.
    if (held.length < this.#pool.options.max || held.some(({ isBusy }) => isBusy)) {
      return false;
    }
    const blocked = new Set<Holder>();
    for (const { holder } of this.#waiting.keys()) {
      for (let each = holder; each !== undefined && !blocked.has(each); each = each.outer) {
        blocked.add(each);
      }
    }
    return held.every(({ holder }) => holder !== undefined && blocked.has(holder));
  }

  /** Twice in a row, with nothing in between: code may just be on its way to its next statement. */
  #look(): void {
    const { isDeadlocked } = this;
    if (isDeadlocked && this.#isSuspected) {
      this.#isSuspected = false;
      [...this.#waiting.values()].at(-1)?.refuse();
    } else {
      this.#isSuspected = isDeadlocked;
    }
  }
}

const known = new WeakMap<PgPool, PoolDeadlockDetector>();
