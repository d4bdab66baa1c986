/** A promise together with the two functions that settle it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T | PromiseLike<T>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Makes a promise that the spec settles itself, to hold code at an exact point.
 *
 * @example
 * ```ts
 * const gate = deferred();
 * proxy.onStatement = () => gate.promise;
 * gate.resolve();
 * ```
 */
export function deferred<T = void>(): Deferred<T> {
  // Not Promise.withResolvers: the `lib` of tsconfig.json ends at ES2023, which has no type for it.
  let resolve!: Deferred<T>['resolve'];
  let reject!: Deferred<T>['reject'];
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
