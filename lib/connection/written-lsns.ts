/** What is known of the writes on one connection. */
interface Position {
  readonly lsn: bigint;
  /** How many commits have noted theirs. */
  readonly notes: number;
}

/**
 * How far replicas must have replayed the log to serve the reads of one unit of work, by connection:
 * the LSNs of what the client of the request had written before, and of what has been committed since.
 */
export class WrittenLsns {
  readonly #positions = new Map<string, Position>();
  #listener: ((connectionName: string, lsn: bigint) => void) | undefined;

  /** The LSN that reads on a connection must see. */
  of(connectionName: string): bigint | undefined {
    return this.#positions.get(connectionName)?.lsn;
  }

  /** Takes over an LSN that the client has sent. The listener is not called: the client knows it. */
  expect(connectionName: string, lsn: bigint): void {
    const { lsn: known, notes = 0 } = this.#positions.get(connectionName) ?? {};
    this.#positions.set(connectionName, {
      lsn: known === undefined ? lsn : max(known, lsn),
      notes,
    });
  }

  /**
   * Is called before a COMMIT is sent.
   *
   * The LSN is asked for on the primary when that COMMIT has been answered, so it lies behind all that
   * was committed before, and takes the place of what was known as the COMMIT was sent: also of an LSN
   * that no replica reaches, for a write whose answer was lost, and of one that a client has forged or
   * brought from another log. What was noted meanwhile may be of a later commit; there the higher one
   * counts.
   *
   * A lost COMMIT was cancelled, and its connection destroyed, before its LSN is noted. It has ended by
   * the next commit, with a smaller LSN or none, unless the network delivers it, or its cancel request,
   * later than that. In that case a replica may not show the write for as long as it is behind; its
   * client was not promised that it exists.
   *
   * @returns what notes the LSN of that commit, and calls the listener
   */
  committing(connectionName: string): (lsn: bigint) => void {
    const notesBefore = this.#positions.get(connectionName)?.notes ?? 0;
    return (lsn) => {
      const { lsn: known = 0n, notes = 0 } = this.#positions.get(connectionName) ?? {};
      const highest = notes === notesBefore ? lsn : max(known, lsn);
      this.#positions.set(connectionName, { lsn: highest, notes: notes + 1 });
      this.#listener?.(connectionName, highest);
    };
  }

  /** Calls `listener`, in place of an earlier one, for each commit from now on. */
  listen(listener: (connectionName: string, lsn: bigint) => void): void {
    this.#listener = listener;
  }
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
