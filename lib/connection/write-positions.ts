/**
 * How far replicas must have come to serve the reads of one unit of work, by connection: positions in
 * the write-ahead log of the primary. What is kept here is what the client of the request had written
 * before, and what has been committed since.
 */
export class WritePositions {
  readonly #positions = new Map<string, bigint>();
  #listener: ((connectionName: string, position: bigint) => void) | undefined;

  /** The position that reads of a connection must see. */
  of(connectionName: string): bigint | undefined {
    return this.#positions.get(connectionName);
  }

  /** Takes over what was written before. Nobody is told: the client knows it. */
  expect(connectionName: string, position: bigint): void {
    const known = this.#positions.get(connectionName);
    if (known === undefined || position > known) {
      this.#positions.set(connectionName, position);
    }
  }

  /** Notes a commit. */
  wrote(connectionName: string, position: bigint): void {
    this.expect(connectionName, position);
    this.#listener?.(connectionName, this.of(connectionName)!);
  }

  /** Tells `listener`, and nobody else, of each commit from now on. */
  listen(listener: (connectionName: string, position: bigint) => void): void {
    this.#listener = listener;
  }
}
