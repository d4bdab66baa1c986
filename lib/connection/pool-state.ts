import { clientsOf, type PgPool } from '../postgresql/pg-client.js';

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

/** How many of the checked out connections are attempts that the server has not answered with a log-in. */
export function connectingCount(pool: PgPool): number {
  return clientsOf(pool).filter(({ processID }) => processID === null).length;
}
