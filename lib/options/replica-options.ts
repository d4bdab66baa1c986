/**
 * Chooses the replica that serves a context.
 *
 * @param hosts the replicas that may be asked, `db2:5432`; a replica that has refused is left out for
 *   a while
 * @returns one of the hosts, or its index
 */
export type ReplicaChoice = (hosts: readonly string[]) => number | string;

/**
 * How read-only transactions find their replica.
 *
 * @publicApi
 */
export interface ReadFromOptions {
  /**
   * Chooses the replica that is asked first; the others follow if it does not answer. It is called once
   * for each context, whose later read-only transactions stay on the same replica.
   * @defaultValue 'round-robin'
   */
  readonly choose?: 'round-robin' | ReplicaChoice;
  /**
   * What happens when no replica answers: the primary serves the transaction, or its first statement
   * fails with {@link ReplicasUnavailableError}.
   * @defaultValue 'primary'
   */
  readonly fallback?: 'primary' | 'error';
  /**
   * How long a replica is left out after it could not be reached, in milliseconds. After that the next
   * request makes the library try it in the background, without a wait.
   * @defaultValue 10_000
   */
  readonly retryAfterMs?: number;
}

/**
 * How a client reads its own writes although replicas lag behind.
 *
 * @publicApi
 */
export interface ReadYourWritesOptions {
  /** How the LSN of the last write, its place in the write-ahead log, is carried to the client and back. */
  readonly via: 'cookie' | 'header';
  /**
   * Name of the cookie or header.
   * @defaultValue `db-position-` and the name of the connection
   */
  readonly name?: string;
  /**
   * How long a read-only transaction waits for a replica to have that write, in milliseconds, before the
   * primary serves it; 0 for not at all.
   * @defaultValue 100
   */
  readonly waitMs?: number;
  /**
   * How long an LSN counts, in seconds. Replicas are expected to lag by less than that.
   * @defaultValue 60
   */
  readonly maxAgeSeconds?: number;
  /**
   * Whether the cookie is sent over TLS alone.
   * @defaultValue false
   */
  readonly secure?: boolean;
}

/**
 * How a connection uses the replicas that MikroORM's option `replicas` declares. Without replicas these
 * options have no effect.
 *
 * @publicApi
 */
export interface ConnectionReadOptions {
  /** Which replica a read-only transaction is sent to. */
  readonly readFrom?: ReadFromOptions;
  /**
   * Makes the reads of a client go to replicas that have its writes, and else to the primary.
   * @defaultValue off
   */
  readonly readYourWrites?: ReadYourWritesOptions;
}
