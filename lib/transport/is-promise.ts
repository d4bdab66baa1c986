/** Whether Nest and graphql-js wait for what a handler or a resolver has returned. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { readonly then?: unknown } | null | undefined)?.then === 'function';
}
