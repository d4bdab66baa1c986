import { AsyncResource } from 'node:async_hooks';

import {
  AcquireTimeoutError,
  ConnectionClosedError,
  ConnectionFailedError,
  PoolDeadlockError,
  type ErrorPlace,
} from '../errors.js';
import {
  hasGivenUpConnecting,
  queueOf,
  type PendingItem,
  type PgClient,
  type PgPool,
} from '../postgresql/pg-client.js';
import { poolWait } from '../telemetry/channels.js';
import { askPool, connects } from './ask-pool.js';
import { placeOf, type Claim } from './claim.js';
import { sharedErrorAt } from './placed-errors.js';
import { PoolDeadlockDetector } from './pool-deadlock-detector.js';
import { connectingCount, poolState } from './pool-state.js';
import { watchSelfWaits } from './self-wait.js';
import type { Wait } from './wait-list.js';

/** How long a caller waits for a connection. */
export interface CheckoutLimits {
  readonly acquireTimeoutMs: number;
  readonly deadlockTimeoutMs: number;
}

/** How long one claim waits; without `acquireTimeoutMs`, for as long as the options of the pool say. */
interface ClaimLimits extends Pick<CheckoutLimits, 'deadlockTimeoutMs'> {
  readonly acquireTimeoutMs: number | undefined;
}

/**
 * Makes a client ready that the pool has given out.
 *
 * @returns `undefined` where it is ready; else the client, or another one in its place
 */
export type CleanFor = (client: PgClient, claim: Claim) => Promise<PgClient> | undefined;

/**
 * Takes a client from the pool, within a limit of its own (F6): `pg` waits for ever by default, and a pool
 * of the application may set no limit. A claim that is over leaves the queue of the pool at once.
 *
 * @throws {@link AcquireTimeoutError} no client became free in time
 * @throws {@link PoolDeadlockError} no client can ever become free
 * @throws {@link ConnectionFailedError} the server could not be reached or refused
 * @throws {@link ConnectionClosedError} the connection was closed meanwhile
 * @throws the reason why the claim was over before
 */
export function checkOut(
  first: PgPool,
  connectionName: string,
  limits: ClaimLimits,
  claim: Claim,
  cleanFor?: CleanFor,
): Promise<PgClient> {
  const checkout = new Checkout(connectionName, limits, claim, cleanFor);
  checkout.askIn(PoolDeadlockDetector.latestOf(first));
  return checkout.client;
}

/** One claim, from its first question to the client or the error that it gets. */
class Checkout implements Wait {
  readonly claim: Claim;
  readonly #connectionName: string;
  readonly #limits: ClaimLimits;
  readonly #cleanFor: CleanFor | undefined;
  readonly client: Promise<PgClient>;
  #resolve!: (client: PgClient | Promise<PgClient>) => void;
  #reject!: (error: Error) => void;
  since = 0;
  until = Infinity;
  /** The pool that it waits in. It changes with the host. */
  pool!: PgPool;
  /** What that pool is to call; `undefined` where nothing is waited for any more. */
  #answer: object | undefined;
  /** Whether the pool opens a connection for it, rather than that it waits for one of others. */
  #isConnecting = false;
  /** The place in the queue of the pool. */
  #place: PendingItem | undefined;
  /** The async context of a claim that waits, since others give clients back and change the host. */
  #waiter: AsyncResource | undefined;
  #timer: NodeJS.Timeout | undefined;
  #forget: (() => void) | undefined;

  constructor(
    connectionName: string,
    limits: ClaimLimits,
    claim: Claim,
    cleanFor: CleanFor | undefined,
  ) {
    this.claim = claim;
    this.#connectionName = connectionName;
    this.#limits = limits;
    this.#cleanFor = cleanFor;
    this.client = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  askIn(pool: PgPool): void {
    const { acquireTimeoutMs, deadlockTimeoutMs } = this.#limits;
    const answer = (error: unknown, client: PgClient | undefined): void => {
      if (this.#answer !== answer) {
        client?.release();
      } else if (client === undefined) {
        this.#fail(error);
      } else {
        this.#got(client);
      }
    };
    this.pool = pool;
    this.#answer = answer;
    this.#isConnecting = connects(pool);
    if (this.#isConnecting) {
      this.#limitConnecting();
    }
    try {
      this.#place = askPool(pool, answer, acquireTimeoutMs);
    } catch (error) {
      // Options that make no client, as a function for its stream that throws.
      this.#fail(error);
      return;
    }
    // A client that is free is given out before anything else happens.
    const isServed = pool.waitingCount > 0 && pool.waitingCount <= pool.idleCount;
    if (this.#answer !== undefined && !isServed) {
      this.#wait();
      if (pool.waitingCount > pool.idleCount) {
        publishWait(this.claim, pool);
        PoolDeadlockDetector.of(pool).watch(deadlockTimeoutMs);
      }
    }
  }

  /** See {@link Wait.expire}. */
  expire(): void {
    const limitMs = this.#limits.acquireTimeoutMs!;
    const pool = {
      ...poolState(this.pool),
      connecting: connectingCount(this.pool),
      isConnecting: this.#isConnecting,
    };
    this.#giveUp(new AcquireTimeoutError(this.#errorPlace, limitMs, pool));
  }

  /** See {@link Wait.refuse}. */
  refuse(): void {
    const { holder, isPast = false } = this.claim;
    const asker = { origin: holder?.origin, isPast };
    this.#giveUp(new PoolDeadlockError(this.#connectionName, poolState(this.pool), asker));
  }

  /** See {@link Wait.moveTo}. */
  moveTo(successor: PgPool): void {
    // Who changes the host is another unit of work, in another span.
    this.#waiter!.runInAsyncScope(() => {
      this.#leave(`The host of connection "${this.#connectionName}" has changed.`);
      this.askIn(successor);
    });
  }

  /** See {@link Wait.hurry}. */
  hurry(): void {
    const place = this.#takePlace();
    if (place !== undefined) {
      queueOf(this.pool).unshift(place);
    }
  }

  /** The limit is set before the pool sets its own, which would come first where both are the same. */
  #limitConnecting(): void {
    const { acquireTimeoutMs } = this.#limits;
    if (acquireTimeoutMs !== undefined && this.since === 0) {
      this.#timer = setTimeout(() => this.expire(), acquireTimeoutMs);
    }
  }

  #wait(): void {
    if (this.#waiter === undefined) {
      // Not `AsyncLocalStorage.bind()`, which takes longer than all else here, for each claim that waits.
      this.#waiter = new AsyncResource('nestjs-db-context:claim');
      this.since = performance.now();
      if (this.#timer === undefined) {
        this.until = this.since + (this.#limits.acquireTimeoutMs ?? Infinity);
      }
      this.#forget = this.claim.whenOver?.((reason) => this.#giveUp(reason));
    }
    PoolDeadlockDetector.of(this.pool).waitsFor(this);
  }

  #got(client: PgClient): void {
    const detector = PoolDeadlockDetector.of(this.pool);
    const waiter = this.#waiter;
    this.#answer = undefined;
    this.#stopLimits();
    if (waiter !== undefined) {
      detector.gaveUp(this);
    }
    detector.got(this.claim, client);
    if (waiter === undefined) {
      this.#handOver(client);
    } else {
      waiter.runInAsyncScope(() => this.#handOver(client));
    }
  }

  #handOver(client: PgClient): void {
    const { claim, pool } = this;
    if (PoolDeadlockDetector.of(pool).hasFamily(claim)) {
      watchSelfWaits(pool, this.#connectionName, claim, this.#limits.deadlockTimeoutMs);
    }
    this.#resolve(this.#cleanFor?.(client, claim) ?? client);
  }

  #fail(error: unknown): void {
    if (this.#isOverWith(error)) {
      this.#isConnecting = true;
      this.expire();
      return;
    }
    const place = this.#errorPlace;
    this.#giveUp(
      error instanceof ConnectionClosedError
        ? sharedErrorAt(place, error)
        : new ConnectionFailedError(place, error),
    );
  }

  /**
   * Whether the pool has given up an attempt that it made for a claim that waited, so that its limit is over as well:
   * the timer of the pool counts from the turn of the event loop, and may come some milliseconds before that.
   */
  #isOverWith(error: unknown): boolean {
    const { acquireTimeoutMs = Infinity } = this.#limits;
    const { connectionTimeoutMillis = 0 } = this.pool.options;
    return (
      this.since > 0 && acquireTimeoutMs <= connectionTimeoutMillis && hasGivenUpConnecting(error)
    );
  }

  get #errorPlace(): ErrorPlace {
    return placeOf(this.#connectionName, this.claim.holder);
  }

  #giveUp(error: Error): void {
    this.#stopLimits();
    this.#leave(error.message);
    this.#reject(error);
  }

  #stopLimits(): void {
    clearTimeout(this.#timer);
    this.#forget?.();
  }

  /** Leaves the pool: one without a limit of its own would go on to count the claim, and serve it in the end. */
  #leave(why: string): void {
    this.#answer = undefined;
    PoolDeadlockDetector.of(this.pool).gaveUp(this);
    const place = this.#takePlace();
    if (place !== undefined && place.timedOut !== true) {
      // Else the span that an instrumentation of pg makes of the wait would never end.
      place.callback(new LeftQueueError(why), undefined, () => undefined);
    }
  }

  #takePlace(): PendingItem | undefined {
    const place = this.#place;
    const index = place === undefined ? -1 : queueOf(this.pool).indexOf(place);
    return index < 0 ? undefined : queueOf(this.pool).splice(index, 1)[0];
  }
}

function publishWait({ source }: Claim, pool: PgPool): void {
  const origin = poolWait.hasSubscribers ? source?.telemetry : undefined;
  if (origin !== undefined && pool.totalCount >= pool.options.max) {
    const { connection, context, transaction, use } = origin;
    poolWait.publish({ connection, context, transaction, use, pool: poolState(pool) });
  }
}

/**
 * What a pool answers to a claim that has left its queue, which only instrumentations get to see. It is none of the
 * errors that the caller gets, whose stack the pool would write anew.
 */
class LeftQueueError extends Error {
  override readonly name = 'LeftQueueError';
}
