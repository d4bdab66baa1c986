/** The unit of work that a transaction ends with. */
export interface WorkOwner {
  /**
   * Takes note of work that ends with the unit of work (W3).
   *
   * @throws {@link SessionClosedError} the unit of work has ended
   */
  own(work: OwnedWork): void;
}

/** Work beside the transaction of a session: a transaction of its own, or code in none. */
export interface OwnedWork {
  isOver(): boolean;
  /** Ends it without saving anything. */
  end(): Promise<void>;
}
