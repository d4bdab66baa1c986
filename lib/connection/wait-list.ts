import type { PgPool } from '../postgresql/pg-client.js';
import type { Claim } from './claim.js';

/** A claim that waits for a client of a pool. */
export interface Wait {
  readonly claim: Claim;
  readonly pool: PgPool;
  /** When it began, by the clock of `performance.now()`. */
  readonly since: number;
  /** When its own limit is over, by the same clock; `Infinity` where it has none. */
  readonly until: number;
  /** Its limit is over. */
  expire(): void;
  /** It has to give up, so that others can be served. */
  refuse(): void;
  /** It is to go on in another pool. */
  moveTo(successor: PgPool): void;
  /** It is to be the first one in the queue. */
  hurry(): void;
}

/**
 * The claims that wait for clients of one pool, in the order in which they came. All of them share one
 * timer: a thousand requests may wait at the same time, and hardly any of them to its limit.
 */
export class WaitList {
  readonly #waits = new Set<Wait>();
  #timer: NodeJS.Timeout | undefined;
  /** When the timer looks, by the clock of `performance.now()`. */
  #looksAt = Infinity;

  get size(): number {
    return this.#waits.size;
  }

  [Symbol.iterator](): Iterator<Wait> {
    return this.#waits.values();
  }

  add(wait: Wait): void {
    this.#waits.add(wait);
    if (wait.until < this.#looksAt) {
      this.#lookAt(wait.until);
    }
  }

  /** @returns whether it was in the list */
  delete(wait: Wait): boolean {
    const wasThere = this.#waits.delete(wait);
    if (this.#waits.size === 0) {
      this.#lookAt(Infinity);
    }
    return wasThere;
  }

  #lookAt(time: number): void {
    clearTimeout(this.#timer);
    this.#looksAt = time;
    this.#timer =
      time === Infinity
        ? undefined
        : setTimeout(() => this.#look(), Math.max(Math.ceil(time - performance.now()), 1));
  }

  /** Ends the waits whose limit is over, and looks again when the next one is. */
  #look(): void {
    const now = performance.now();
    let next = Infinity;
    for (const wait of this.#waits) {
      if (wait.until <= now) {
        wait.expire();
      } else {
        next = Math.min(next, wait.until);
      }
    }
    this.#lookAt(this.#waits.size === 0 ? Infinity : next);
  }
}
