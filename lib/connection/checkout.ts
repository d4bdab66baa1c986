import { AcquireTimeoutError, ConnectionFailedError } from '../errors.js';
import type { PgClient, PgPool } from './pg-client.js';

/**
 * Takes a client from the pool, within a limit of its own: `pg` waits for ever by default, and a
 * pool that the application brought along may not set one.
 *
 * @throws {@link AcquireTimeoutError} none came within `timeoutMs`
 * @throws {@link ConnectionFailedError} the server could not be reached or refused
 */
export function checkOut(
  pool: PgPool,
  connectionName: string,
  timeoutMs: number,
): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      reject(new AcquireTimeoutError(connectionName, timeoutMs, poolState(pool)));
    }, timeoutMs);
    pool.connect().then(
      (client) => {
        clearTimeout(timer);
        if (late) {
          client.release();
        } else {
          resolve(client);
        }
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(new ConnectionFailedError(connectionName, error));
      },
    );
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
