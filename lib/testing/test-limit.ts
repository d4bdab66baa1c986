import { jestTimeoutMs } from './jest-test.js';

/** How long the test runner lets a test take, as far as that is known. */
export interface TestLimit {
  /** From the call of its body, in milliseconds. */
  readonly timeoutMs: number | undefined;
  /** Aborted by Vitest and `node:test` when the test has timed out. */
  readonly signal: AbortSignal | undefined;
  /** Whether the runner itself knows of that timeout, and says by the signal when it is over. */
  readonly isSignalled: boolean;
  /** When the runner called the body, by `performance.now()`. */
  readonly startedAt: number;
}

/** What Vitest and `node:test` hand to the body of a test, the part that is looked at. */
interface RunnerArgument {
  readonly signal?: unknown;
  readonly task?: { readonly timeout?: number };
}

/**
 * @param argument what the runner hands to the body of the test
 * @param givenMs the timeout that the test was registered with, in milliseconds
 */
export function testLimitOf(argument: unknown, givenMs: number | undefined): TestLimit {
  const { signal, task } = (argument ?? {}) as RunnerArgument;
  const timeoutMs = givenMs ?? task?.timeout ?? jestTimeoutMs();
  return {
    timeoutMs: timeoutMs && Number.isFinite(timeoutMs) ? timeoutMs : undefined,
    signal: signal instanceof AbortSignal ? signal : undefined,
    // A test function of node:test takes a timeout as an option, not as a number.
    isSignalled: signal instanceof AbortSignal && (task !== undefined || givenMs === undefined),
    startedAt: performance.now(),
  };
}

/**
 * Waits for a piece of work until the test times out: by the word of the runner, or by the clock where the
 * runner gives none.
 *
 * @param timedOut makes the error for the second case
 * @throws what `work` throws, the reason of the signal, or the error of `timedOut`
 */
export async function untilTimeout<T>(
  { timeoutMs, signal, isSignalled, startedAt }: TestLimit,
  work: Promise<T>,
  timedOut: () => Error,
): Promise<T> {
  const over = Promise.withResolvers<never>();
  const onAbort = (): void => over.reject(signal?.reason);
  const leftMs =
    !isSignalled && timeoutMs !== undefined
      ? timeoutMs - (performance.now() - startedAt)
      : undefined;
  const timer =
    leftMs === undefined ? undefined : setTimeout(() => over.reject(timedOut()), leftMs);
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted === true) {
    onAbort();
  }
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    // What the work does after the timeout is nobody's concern any more.
    work.catch(() => undefined);
  }
}
