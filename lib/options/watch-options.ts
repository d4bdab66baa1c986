/**
 * After how long the option `watch` warns, in milliseconds.
 *
 * @publicApi
 */
export interface WatchOptions {
  /**
   * How long a context may be open.
   * @defaultValue 10_000
   */
  readonly contextOpenMs?: number;
  /**
   * How long a session may hold its connection without a statement.
   * @defaultValue 1_000
   */
  readonly idleInTransactionMs?: number;
}
