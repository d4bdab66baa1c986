/** Longest delay of a timer, in milliseconds; Node fires timers with a longer one at once. */
export const LONGEST_LIMIT_MS = 2 ** 31 - 1;

/** Whether an option is a number of milliseconds that can be waited for. */
export function isTimeLimit(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= LONGEST_LIMIT_MS;
}

/**
 * The whole milliseconds since a moment of `performance.now()`. That clock cannot be set, as the one of
 * `Date.now()` can, so a duration is right whatever happens to the time of day (F6).
 */
export function millisecondsSince(startedAt: number): number {
  return Math.round(performance.now() - startedAt);
}

/** The result of {@link withinLimit} when the limit came first. */
export const TIMED_OUT = Symbol('timed out');

/** Waits for `promise`, for at most `limitMs`. A rejection of `promise` after that is ignored. */
export function withinLimit<T>(
  promise: Promise<T>,
  limitMs: number,
): Promise<T | typeof TIMED_OUT> {
  // This is not a `Promise.race()` with a `finally()`: they make four promises more, several times in
  // each request.
  return new Promise((resolve, reject) => {
    // The limit is judged after the sockets were read: an event loop that was blocked runs its timers
    // first, although the answer may have arrived.
    const timer = setTimeout(() => setImmediate(resolve, TIMED_OUT), limitMs);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
