import type { PoolState } from './pool-state.js';

/**
 * How {@link DbConnection.check} asks.
 *
 * @publicApi
 */
export interface CheckOptions {
  /**
   * Longest time until the connection and its replicas have answered, in milliseconds.
   * @defaultValue 1_000
   */
  readonly timeoutMs?: number;
}

/**
 * Why a server gave no answer, or an incomplete one. It holds no password.
 *
 * @publicApi
 */
export interface HealthError {
  readonly message: string;
  /**
   * A code of the operating system (`ECONNREFUSED`, `ENOTFOUND`), of the server (`28P01`, `53300`,
   * `57P03`) or of this library (`CONNECTION_CLOSED`), or `ETIMEDOUT` when the time was over.
   */
  readonly code?: string;
}

/**
 * A read replica of a connection, as {@link DbConnection.check} found it. Its lag is known only if it is a
 * streaming standby.
 *
 * @publicApi
 */
export interface ReplicaHealth {
  /** Host and port, `db2:5432`. */
  readonly host: string;
  readonly isReachable: boolean;
  /** How long it took until the answer came or the check gave up, in milliseconds. */
  readonly tookMs: number;
  /**
   * By how many milliseconds the replica is behind the primary, at most: how long it took to replay up to
   * the LSN that the primary had when it was asked; where it did not within a quarter of `timeoutMs`, the
   * age of the last transaction that it replayed. A difference between the clocks of the servers adds to
   * that.
   */
  readonly lagMs?: number;
  /** How many bytes of the log the primary has written, or the replica has received, but not replayed. */
  readonly lagBytes?: number;
  /** Whether replay is paused, by `pg_wal_replay_pause()`. */
  readonly isReplayPaused?: boolean;
  readonly error?: HealthError;
}

/**
 * The result of {@link DbConnection.check}, in plain values that JSON can hold.
 *
 * @publicApi
 */
export interface ConnectionHealth {
  /** Whether the log-in succeeded and the server answered. */
  readonly isReachable: boolean;
  /** Host and port that were asked, `db1:5432`. */
  readonly host: string;
  /** How long it took until the answer came or the check gave up, in milliseconds. */
  readonly tookMs: number;
  /** Counters of the pool, which do not count the check itself. Missing once the connection is closed. */
  readonly pool?: PoolState;
  /** Whether the server takes writes: `pg_is_in_recovery()` is false. Missing without an answer. */
  readonly isPrimary?: boolean;
  readonly error?: HealthError;
  /** The `replicas` of MikroORM's options, in that order. Missing where there are none. */
  readonly replicas?: readonly ReplicaHealth[];
}
