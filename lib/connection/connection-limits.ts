/**
 * Limits of all waits on a connection, in milliseconds. All are finite, so no fault can hold a connection
 * for ever, nor who waits for one.
 *
 * @publicApi
 */
export interface ConnectionLimits {
  /**
   * Longest wait for a free or a new connection.
   * @defaultValue 10_000
   */
  readonly acquireTimeoutMs?: number;
  /**
   * How long a wait for a connection goes on before the library checks whether it can ever end, and how
   * long it pauses between two checks; see {@link PoolDeadlockError}. The second check that finds the same
   * deadlock ends the wait, so after twice this time: at one check, code may just be between two statements.
   * @defaultValue 1_000
   */
  readonly deadlockTimeoutMs?: number;
  /**
   * Longest time that one transaction may stay open; after it the transaction is rolled back and
   * its connection freed, even while the code that holds it is still running.
   * @defaultValue 60_000
   */
  readonly transactionTimeoutMs?: number;
  /**
   * How long the end of a transaction waits for statements that are still running. They are then
   * cancelled, and the connection is destroyed.
   * @defaultValue 5_000
   */
  readonly drainTimeoutMs?: number;
  /**
   * Longest wait for the server's answer to COMMIT or ROLLBACK, and to DISCARD ALL, which resets a
   * connection.
   * @defaultValue 10_000
   */
  readonly endTimeoutMs?: number;
  /**
   * How long a statement waits for a nested transaction of a parallel branch of the same session.
   * @defaultValue 30_000
   */
  readonly savepointTimeoutMs?: number;
  /**
   * After {@link DbConnection.changeHost}, how long transactions on the old host may go on. The
   * transactions that are left then are ended, and the old pool is closed.
   * @defaultValue 30_000
   */
  readonly hostDrainTimeoutMs?: number;
}

/** {@link ConnectionLimits} with every default filled in. */
export type ResolvedLimits = Required<ConnectionLimits>;
