import { AcquireTimeoutError, ConnectionFailedError, PoolDeadlockError } from '../errors.js';
import type { PgClient, PgPool } from './pg-client.js';
import { PoolClaims, type Claim } from './pool-claims.js';

/** How long a caller waits for a connection. */
export interface CheckoutLimits {
  readonly acquireTimeoutMs: number;
  readonly deadlockTimeoutMs: number;
}

/**
 * Takes a client from the pool, within a limit of its own: `pg` waits for ever by default, and a
 * pool that the application brought along may not set one.
 *
 * @throws {@link AcquireTimeoutError} none came in time
 * @throws {@link PoolDeadlockError} none can ever come
 * @throws {@link ConnectionFailedError} the server could not be reached or refused
 */
export function checkOut(
  pool: PgPool,
  connectionName: string,
  { acquireTimeoutMs, deadlockTimeoutMs }: CheckoutLimits,
  claim: Claim,
): Promise<PgClient> {
  const claims = PoolClaims.of(pool);
  return new Promise((resolve, reject) => {
    let hasGivenUp = false;
    const giveUp = (error: Error): void => {
      hasGivenUp = true;
      clearTimeout(timer);
      claims.gaveUp(claim);
      reject(error);
    };
    const timer = setTimeout(() => {
      giveUp(new AcquireTimeoutError(connectionName, acquireTimeoutMs, poolState(pool)));
    }, acquireTimeoutMs);
    claims.waitsFor(claim, () => giveUp(new PoolDeadlockError(connectionName, poolState(pool))));
    pool.connect().then(
      (client) => {
        clearTimeout(timer);
        if (hasGivenUp) {
          client.release();
        } else {
          claims.got(claim, client);
          resolve(client);
        }
      },
      (error: unknown) => giveUp(new ConnectionFailedError(connectionName, error)),
    );
    if (pool.waitingCount > pool.idleCount) {
      claims.watch(deadlockTimeoutMs);
    }
  });
}

/** Counters of a pool. `checkedOut` is what a leak would raise. */
export interface PoolState {
  /** Largest number of connections, `pool.max`. */
  readonly size: number;
  /** Connections in the hands of a session (or still connecting). */
  readonly checkedOut: number;
  /** Open connections that nobody uses. */
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
