import { InvalidOptionsError } from '../errors.js';

/** What the functions of a list return, in the order of the list. */
export type RunAllResults<T extends readonly (() => unknown)[]> = {
  -readonly [K in keyof T]: Awaited<ReturnType<T[K]>>;
};

/**
 * Runs functions side by side, a limited number of them at a time. After a failure no further one
 * is started, and those that run are waited for, so that nothing goes on behind the caller's back.
 *
 * @param onLaterFailure is called with each failure but the first
 * @throws the first failure
 */
export async function runBounded<const T extends readonly (() => unknown)[]>(
  callbacks: T,
  concurrency: number,
  onLaterFailure: (error: unknown) => void,
): Promise<RunAllResults<T>> {
  const results: unknown[] = Array.from({ length: callbacks.length });
  const rest = callbacks.entries();
  let failure: { readonly error: unknown } | undefined;
  const work = async (): Promise<void> => {
    for (const [index, callback] of rest) {
      try {
        results[index] = await callback();
      } catch (error) {
        if (failure === undefined) {
          failure = { error };
        } else {
          onLaterFailure(error);
        }
      }
      if (failure !== undefined) {
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, callbacks.length) }, work));
  if (failure !== undefined) {
    throw failure.error;
  }
  return results as RunAllResults<T>;
}

/** @throws {@link InvalidOptionsError} */
export function checkConcurrency(value: unknown): asserts value is number {
  if (!Number.isInteger(value) || (value as number) < 1) {
    throw new InvalidOptionsError(
      `runAllInNewContexts() was given concurrency: ${String(value)}. Give how many functions may ` +
        'run at the same time: 1, 2, ...',
    );
  }
}
