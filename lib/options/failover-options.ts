/**
 * How a connection finds the primary: before a transaction takes its connection, each host is asked
 * whether it is the primary, and the connection changes to that host as by
 * {@link DbConnection.changeHost}. The answer holds for `cacheMs`, and is forgotten at once when a
 * connection is lost or refused, the server shuts down, or a standby refuses a write. Where no host is a
 * primary, the statement fails with {@link NoPrimaryError}.
 *
 * @example
 * ```ts
 * { ...defineConfig({ clientUrl, entities }), failover: { hosts: ['db1:5432', 'db2:5432'] } }
 * ```
 *
 * @publicApi
 */
export interface FailoverOptions {
  /** Every server that may be the primary, at least two, each in a form that `changeHost()` takes. */
  readonly hosts: readonly string[];
  /**
   * Longest wait for the answer of one host, in milliseconds.
   * @defaultValue 2_000
   */
  readonly timeoutMs?: number;
  /**
   * How long a primary that was found counts as the primary without being asked again, in
   * milliseconds.
   * @defaultValue 5_000
   */
  readonly cacheMs?: number;
}
