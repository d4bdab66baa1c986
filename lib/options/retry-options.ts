/**
 * Runs work again when the server rolled it back because of a concurrent transaction (SQLSTATE 40001,
 * serialization failure; 40P01, deadlock). See
 * https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
 *
 * @publicApi
 */
export interface RetryOptions {
  /** How often the work may run, the first time included; a whole number, 2 or more. */
  readonly attempts: number;
  /**
   * Longest pause before the second attempt, in milliseconds, 0 or more; doubled for each further
   * one, up to two seconds or to this value, whichever is longer. The pause is drawn at random, so
   * that transactions which met do not meet again.
   * @defaultValue 20
   */
  readonly backoffMs?: number;
}
