/**
 * How far replicas must have replayed the log to serve the reads of one unit of work, by connection:
 * the LSNs of what the client of the request had written before, and of what has been committed since.
 */
export class WrittenLsns {
  readonly #lsns = new Map<string, bigint>();
  #listener: ((connectionName: string, lsn: bigint) => void) | undefined;

  /** The LSN that reads on a connection must see. */
  of(connectionName: string): bigint | undefined {
    return this.#lsns.get(connectionName);
  }

  /** Takes over an LSN that the client has sent. The listener is not called: the client knows it. */
  expect(connectionName: string, lsn: bigint): void {
    const known = this.#lsns.get(connectionName);
    if (known === undefined || lsn > known) {
      this.#lsns.set(connectionName, lsn);
    }
  }

  /** Notes the LSN of a commit, and calls the listener. */
  wrote(connectionName: string, lsn: bigint): void {
    this.expect(connectionName, lsn);
    this.#listener?.(connectionName, this.of(connectionName)!);
  }

  /** Calls `listener`, in place of an earlier one, for each commit from now on. */
  listen(listener: (connectionName: string, lsn: bigint) => void): void {
    this.#listener = listener;
  }
}
