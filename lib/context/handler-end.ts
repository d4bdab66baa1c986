/** Stands between the handler that a context was opened for and everything that sees its value. */
export interface HandlerEnd {
  /** The function that is the handler. */
  readonly handler: object;
  /**
   * Called once, with what the handler has returned.
   *
   * @returns what takes its place
   */
  returned(result: unknown): unknown;
}
