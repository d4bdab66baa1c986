import { AsyncResource } from 'node:async_hooks';

import {
  AcquireTimeoutError,
  ConnectionClosedError,
  ConnectionFailedError,
  PoolDeadlockError,
} from '../errors.js';
import { queueOf, type PgClient, type PgPool } from '../postgresql/pg-client.js';
import { askPool } from './ask-pool.js';
import { poolWait } from '../telemetry/channels.js';
import { placeOf, type Claim } from './claim.js';
import { PoolDeadlockDetector } from './pool-deadlock-detector.js';
import { watchSelfWaits } from './self-wait.js';

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
  { acquireTimeoutMs, deadlockTimeoutMs }: ClaimLimits,
  claim: Claim,
): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    /** Where the claim waits. It changes with the host, and is `undefined` after the wait. */
    let place: Place | undefined;
    let forget: (() => void) | undefined;
    let timer: NodeJS.Timeout | undefined;
    const stopWaiting = (why: string): void => {
      const left = place;
      place = undefined;
      if (left !== undefined) {
        PoolDeadlockDetector.of(left.pool).gaveUp(claim);
        // A pool without a limit of its own would go on to count the claim, and serve it in the end.
        left.leave(why);
      }
    };
    const giveUp = (error: Error): void => {
      clearTimeout(timer);
      forget?.();
      stopWaiting(error.message);
      reject(error);
    };
    const startTimer = (): NodeJS.Timeout | undefined =>
      acquireTimeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            const state = poolState(place?.pool ?? first);
            giveUp(
              new AcquireTimeoutError(
                placeOf(connectionName, claim.holder),
                acquireTimeoutMs,
                state,
              ),
            );
          }, acquireTimeoutMs);
    const waitIn = (pool: PgPool): void => {
      const detector = PoolDeadlockDetector.of(pool);
      // A client that is free is given out before anything else happens. Else the limit is set before the pool sets its
      // own, which would come first where both are the same.
      if (pool.waitingCount >= pool.idleCount) {
        timer ??= startTimer();
      }
      const { client: given, leave, hurry } = ask(pool);
      const here: Place = { pool, leave };
      place = here;
      const isServed = pool.waitingCount > 0 && pool.waitingCount <= pool.idleCount;
      if (!isServed) {
        timer ??= startTimer();
        forget ??= claim.whenOver?.(giveUp);
        const refuse = (): void =>
          giveUp(new PoolDeadlockError(connectionName, poolState(pool), askerOf(claim)));
        // Who changes the host is another unit of work, in another span. Not `AsyncLocalStorage.bind()`, which takes
        // longer than all else here, for each claim that waits.
        const asker = new AsyncResource('nestjs-db-context:claim');
        const move = (successor: PgPool): void =>
          asker.runInAsyncScope(() => {
            stopWaiting(`The host of connection "${connectionName}" has changed.`);
            waitIn(successor);
          });
        detector.waitsFor(claim, refuse, { move, hurry });
      }
      given.then(
        (client) => {
          if (place === here) {
            clearTimeout(timer);
            forget?.();
            detector.got(claim, client);
            watchSelfWaits(pool, connectionName, claim, deadlockTimeoutMs);
            resolve(client);
          } else {
            client.release();
          }
        },
        (error: unknown) => {
          if (place === here) {
            const isRefused = error instanceof ConnectionClosedError;
            giveUp(
              isRefused
                ? error
                : new ConnectionFailedError(placeOf(connectionName, claim.holder), error),
            );
          }
        },
      );
      if (pool.waitingCount > pool.idleCount) {
        publishWait(claim, pool);
        detector.watch(deadlockTimeoutMs);
      }
    };
    waitIn(PoolDeadlockDetector.latestOf(first));
  });
}

/** Who asks for a client, for messages. */
function askerOf({ holder, isPast = false }: Claim): {
  origin: string | undefined;
  isPast: boolean;
} {
  return { origin: holder?.origin, isPast };
}

function publishWait({ source }: Claim, pool: PgPool): void {
  const origin = poolWait.hasSubscribers ? source?.telemetry : undefined;
  if (origin !== undefined && pool.totalCount >= pool.options.max) {
    const { connection, context, transaction, use } = origin;
    poolWait.publish({ connection, context, transaction, use, pool: poolState(pool) });
  }
}

/** Where a claim waits. */
interface Place extends Pick<Request, 'leave'> {
  readonly pool: PgPool;
}

/** A request for a client, as long as it is in the queue of a pool. */
interface Request {
  readonly client: Promise<PgClient>;
  /** Takes it out of the queue again, where the pool then refuses it. */
  readonly leave: (why: string) => void;
  /** Makes it the first one in the queue. */
  readonly hurry: () => void;
}

/**
 * What a pool answers to a claim that has left its queue, which only instrumentations get to see. It is none of the
 * errors that the caller gets, whose stack the pool would write anew.
 */
class LeftQueueError extends Error {
  override readonly name = 'LeftQueueError';
}

/** Asks a pool for a client. */
function ask(pool: PgPool): Request {
  const { waitingCount } = pool;
  const client = askPool(pool);
  const place = pool.waitingCount > waitingCount ? queueOf(pool).at(-1) : undefined;
  const take = (): typeof place => {
    const index = place === undefined ? -1 : queueOf(pool).indexOf(place);
    return index < 0 ? undefined : queueOf(pool).splice(index, 1)[0];
  };
  return {
    client,
    leave: (why) => {
      const taken = take();
      if (taken !== undefined && taken.timedOut !== true) {
        // The pool's own promise would never end, nor the span that an instrumentation of pg makes of it.
        taken.callback(new LeftQueueError(why), undefined, () => undefined);
      }
    },
    hurry: () => {
      const taken = take();
      if (taken !== undefined) {
        queueOf(pool).unshift(taken);
      }
    },
  };
}

/** Counters of a pool. A leak would show as a `checkedOut` that never falls. */
export interface PoolState {
  /** Largest number of connections, `pool.max`. */
  readonly size: number;
  /** Connections that are in use, or still connecting. */
  readonly checkedOut: number;
  /** Open connections that are not in use. */
  readonly idle: number;
  /** Callers that wait for a connection. */
  readonly waiting: number;
}

export function poolState(pool: PgPool): PoolState {
  return {
    size: pool.options.max,
    checkedOut: pool.totalCount - pool.idleCount,
    idle: pool.idleCount,
    waiting: pool.waitingCount,
  };
}
