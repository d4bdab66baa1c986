import type { PoolState } from './checkout.js';

/**
 * How {@link DbConnection.check} asks.
 *
 * @publicApi
 */
export interface CheckOptions {
  /**
   * Longest time until there is an answer, in milliseconds, replicas included.
   * @defaultValue 1_000
   */
  readonly timeoutMs?: number;
}

/**
 * Why a server gave no answer, or not a whole one. Without any password.
 *
 * @publicApi
 */
export interface HealthError {
  readonly message: string;
  /**
   * Of the operating system (`ECONNREFUSED`, `ENOTFOUND`), of the server (`28P01`, `53300`,
   * `57P03`), of this library (`CONNECTION_CLOSED`), or `ETIMEDOUT` when the time was over.
   */
  readonly code?: string;
}

/**
 * A read replica of a connection, as {@link DbConnection.check} found it. What it lags by is known of
 * streaming standbys alone.
 *
 * @publicApi
 */
export interface ReplicaHealth {
  /** Host and port, `db2:5432`. */
  readonly host: string;
  readonly isReachable: boolean;
  /** How long the answer took, or the wait for none, in milliseconds. */
  readonly tookMs: number;
  /**
   * By how many milliseconds it is behind the primary, at most: how long it took to replay what the
   * primary had when it was asked; where that did not come within a quarter of `timeoutMs`, the age
   * of the last transaction that it replayed. Clocks of the servers that differ count.
   */
  readonly lagMs?: number;
  /** What the primary has written, or this server has received, and it has not replayed. */
  readonly lagBytes?: number;
  /** Whether somebody called `pg_wal_replay_pause()`. */
  readonly isReplayPaused?: boolean;
  readonly error?: HealthError;
}

/**
 * What {@link DbConnection.check} found; plain values, as JSON has them.
 *
 * @publicApi
 */
export interface ConnectionHealth {
  /** Whether the server let this connection log in, and answered. */
  readonly isReachable: boolean;
  /** Host and port that were asked, `db1:5432`. */
  readonly host: string;
  /** How long the answer took, or the wait for none, in milliseconds. */
  readonly tookMs: number;
  /** Counters of the pool; the check itself is in none of them. Missing once it is closed. */
  readonly pool?: PoolState;
  /** Whether the server takes writes: `pg_is_in_recovery()` is false. Missing without an answer. */
  readonly isPrimary?: boolean;
  readonly error?: HealthError;
  /** The `replicas` of MikroORM's options, in that order. Missing where there are none. */
  readonly replicas?: readonly ReplicaHealth[];
}
