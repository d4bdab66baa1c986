import type { PgClient, PgPool } from '../postgresql/pg-client.js';
import type { Claim, Holder } from './claim.js';
import { WaitList, type Wait } from './wait-list.js';

/** A client that is in use, and the claim that holds it. */
export interface Held {
  readonly client: PgClient;
  readonly claim: Claim;
}

/** Pools that can serve no claim any more, and the waits that keep them from it. */
interface Deadlock {
  /** Each pool with the number of clients that had been released to it. */
  readonly releases: ReadonlyMap<PoolDeadlockDetector, number>;
  /** The waits of the units of work that hold the clients of these pools. */
  readonly waits: ReadonlySet<Wait>;
}

/**
 * Finds claims on a pool that can never be served (C3).
 *
 * The pools of the process and the units of work that use them form one wait-for graph: a pool waits
 * for the units of work that hold its clients, and a unit of work waits for the pools in which it has a
 * claim, itself or by a unit of work inside of it. A pool is deadlocked when each of its clients is
 * held by a unit of work that waits for a deadlocked pool. The graph has no list of all pools: a
 * detector reaches the pools that matter to it from the clients of its own.
 */
export class PoolDeadlockDetector {
  readonly #pool: PgPool;
  /**
   * A list rather than a map: a map that lives as long as the pool, and changes with each request,
   * makes V8 keep what the requests hold until a major collection.
   */
  readonly #held: Held[] = [];
  readonly #waits = new WaitList();
  #successor: PgPool | undefined;
  #timer: NodeJS.Timeout | undefined;
  #releases = 0;
  /** The deadlock that the last check found. */
  #suspected: Deadlock | undefined;

  private constructor(pool: PgPool) {
    this.#pool = pool;
    pool.on('release', (_error, client) => {
      const index = this.#indexOf(client);
      if (index >= 0) {
        this.#held.splice(index, 1);
      }
      this.#releases++;
    });
  }

  /** The detector of a pool; connections that share the pool share its detector. */
  static of(pool: PgPool): PoolDeadlockDetector {
    let detector = detectors.get(pool);
    if (detector === undefined) {
      detector = new PoolDeadlockDetector(pool);
      detectors.set(pool, detector);
    }
    return detector;
  }

  /** The newest successor of `pool`, or `pool` itself. */
  static latestOf(pool: PgPool): PgPool {
    let latest = pool;
    for (
      let detector = detectors.get(pool);
      detector !== undefined;
      detector = detectors.get(latest)
    ) {
      if (detector.#successor === undefined) {
        break;
      }
      latest = detector.#successor;
    }
    return latest;
  }

  /** The clients that sessions use, each with the claim that holds it. */
  get held(): ReadonlyMap<PgClient, Claim> {
    const ofSessions = this.#held.filter(({ claim }) => claim.isPast !== true);
    return new Map(ofSessions.map(({ client, claim }) => [client, claim]));
  }

  /** Whether the unit of work of a claim, or one around it, holds a client beside that of the claim. */
  hasFamily(claim: Claim): boolean {
    return (
      this.#held.length > 1 &&
      this.#held.some((each) => each.claim !== claim && isWithin(claim, each.claim.holder))
    );
  }

  /** The clients that the unit of work of a claim holds, and those around it, that of the claim included. */
  family(claim: Claim): readonly Held[] {
    return this.#held.filter((each) => isWithin(claim, each.claim.holder));
  }

  /** Whether a client is still held by the same claim. */
  holds({ client, claim }: Held): boolean {
    return this.#held.some((each) => each.client === client && each.claim === claim);
  }

  /** The claims that wait in the queue of the pool, in the order in which they came. */
  get waits(): Iterable<Wait> {
    return this.#waits;
  }

  /** Whether none of the claims that wait in the pool can ever be served. */
  get isDeadlocked(): boolean {
    return this.#findDeadlock() !== undefined;
  }

  /** Makes the claims that wait, and those that come later, wait in another pool. */
  retire(successor: PgPool): void {
    this.#successor = successor;
    for (const wait of this.#waits) {
      wait.moveTo(successor);
    }
  }

  /** Notes that a claim waits in the queue of the pool. */
  waitsFor(wait: Wait): void {
    this.#waits.add(wait);
    waitedFor.add(this);
  }

  /** Checks for a deadlock repeatedly while claims wait, with one timer for all of them. */
  watch(intervalMs: number): void {
    this.#timer ??= setInterval(() => this.#check(), intervalMs).unref();
  }

  /** Notes that a claim got a client. */
  got(claim: Claim, client: PgClient): void {
    const known = this.#indexOf(client);
    this.#held[known < 0 ? this.#held.length : known] = { client, claim };
  }

  #indexOf(client: PgClient): number {
    for (let index = 0; index < this.#held.length; index++) {
      if (this.#held[index]!.client === client) {
        return index;
      }
    }
    return -1;
  }

  /** Notes that a claim does not wait any more. */
  gaveUp(wait: Wait): void {
    if (this.#waits.delete(wait) && this.#waits.size === 0) {
      waitedFor.delete(this);
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#suspected = undefined;
    }
  }

  /**
   * Refuses a claim if the same deadlock is found twice in a row: at a single check, code may just be
   * between two statements. The others that hold clients are served first from then on: claims that hold
   * none would take the client that becomes free, and might come to wait in the same way.
   */
  #check(): void {
    const deadlock = this.#findDeadlock();
    if (deadlock !== undefined && isSame(this.#suspected, deadlock)) {
      this.#suspected = undefined;
      const victim = lastOf(deadlock.waits);
      const others = [...deadlock.waits].filter((wait) => wait !== victim);
      others.toReversed().forEach((wait) => wait.hurry());
      victim?.refuse();
    } else {
      this.#suspected = deadlock;
    }
  }

  /** Starts from all pools that may be deadlocked, and removes those that can still serve a claim. */
  #findDeadlock(): Deadlock | undefined {
    if (!this.isHeldUp) {
      return undefined;
    }
    const stuck = new Map<PoolDeadlockDetector, readonly (readonly Wait[])[]>();
    collectFull(this, stuck, waitsByHolder());
    for (let size = -1; size !== stuck.size;) {
      size = stuck.size;
      for (const [detector, holders] of stuck) {
        if (!holders.every((waits) => waits.some(({ pool }) => stuck.has(detectorOf(pool))))) {
          stuck.delete(detector);
        }
      }
    }
    return stuck.has(this)
      ? {
          releases: new Map([...stuck.keys()].map((each) => [each, each.#releases])),
          waits: new Set(
            [...stuck.values()].flat(2).filter(({ pool }) => stuck.has(detectorOf(pool))),
          ),
        }
      : undefined;
  }

  /** Whether no client may come back by itself: one that is free, at work, or held by code that is unknown here. */
  get isHeldUp(): boolean {
    return (
      this.#held.length >= this.#pool.options.max && !this.#held.some(({ claim }) => claim.isBusy)
    );
  }

  /** The units of work that hold the clients of the pool. */
  get holders(): readonly (Holder | undefined)[] {
    return this.#held.map(({ claim }) => claim.holder);
  }
}

/** The detector of each pool that has one. */
const detectors = new WeakMap<PgPool, PoolDeadlockDetector>();

/** The detectors of the pools that claims wait for; those pools are in use, so this keeps nothing alive. */
const waitedFor = new Set<PoolDeadlockDetector>();

/**
 * The waits that block each unit of work: its own, and those of units of work inside of it. They are looked
 * for when a deadlock may be there: kept for each claim that waits, they would cost a busy application more
 * than the search does.
 */
function waitsByHolder(): ReadonlyMap<Holder, readonly Wait[]> {
  const found = new Map<Holder, Wait[]>();
  for (const detector of waitedFor) {
    for (const wait of detector.waits) {
      for (const holder of chainOf(wait.claim.holder)) {
        const waits = found.get(holder);
        if (waits === undefined) {
          found.set(holder, [wait]);
        } else {
          waits.push(wait);
        }
      }
    }
  }
  return found;
}

/** Adds a detector to `found` if its pool is fully in use, and then those that its pool waits for. */
function collectFull(
  detector: PoolDeadlockDetector,
  found: Map<PoolDeadlockDetector, readonly (readonly Wait[])[]>,
  waitsOf: ReadonlyMap<Holder, readonly Wait[]>,
): void {
  if (!found.has(detector) && detector.isHeldUp) {
    const holders = detector.holders.map((holder) => (holder && waitsOf.get(holder)) ?? []);
    found.set(detector, holders);
    holders.flat().forEach(({ pool }) => collectFull(detectorOf(pool), found, waitsOf));
  }
}

function detectorOf(pool: PgPool): PoolDeadlockDetector {
  return PoolDeadlockDetector.of(pool);
}

/** Whether nothing has changed between two checks: no client came back, and no wait ended. */
function isSame(before: Deadlock | undefined, now: Deadlock): boolean {
  return (
    before !== undefined &&
    before.releases.size === now.releases.size &&
    [...now.releases].every(([each, count]) => before.releases.get(each) === count) &&
    [...before.waits].every((wait) => now.waits.has(wait))
  );
}

/** The wait that began last. */
function lastOf(waits: ReadonlySet<Wait>): Wait | undefined {
  return [...waits].reduce<Wait | undefined>(
    (last, wait) => (last !== undefined && last.since > wait.since ? last : wait),
    undefined,
  );
}

/** Whether the unit of work of a claim is `holder`, or runs inside of it. */
function isWithin({ holder: own }: Claim, holder: Holder | undefined): boolean {
  let each = own;
  while (each !== undefined && each !== holder) {
    each = each.outer;
  }
  return each !== undefined;
}

/** A unit of work, and the units of work around it. */
function chainOf(holder: Holder | undefined): readonly Holder[] {
  const chain: Holder[] = [];
  for (let each = holder; each !== undefined && !chain.includes(each); each = each.outer) {
    chain.push(each);
  }
  return chain;
}
