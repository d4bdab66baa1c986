/** Stands between the handlers that a context was opened for and everything that sees their values. */
export interface HandlerEnd {
  /**
   * Called with each method of a controller, a gateway or a resolver that is called in the context.
   *
   * @returns whether it is a handler, so that `returned()` is to be called next
   */
  takes(method: object): boolean;
  /**
   * Called with what a handler has returned.
   *
   * @returns what takes its place
   */
  returned(result: unknown): unknown;
}
