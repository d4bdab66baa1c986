/**
 * Waits until all code has come to a stop that waits for nothing but other promises. What a handler has begun
 * and not awaited has asked for its first statement by then, however many promises it has gone through, so that
 * the end of the transaction finds it (F3): `process.nextTick()` calls back when no microtask is left.
 * See https://nodejs.org/api/process.html#when-to-use-queuemicrotask-vs-processnexttick
 */
export function pendingCodeRuns(): Promise<void> {
  return new Promise((resolve) => {
    // From a microtask: outside of one it would be called back before them.
    queueMicrotask(() => process.nextTick(resolve));
  });
}
