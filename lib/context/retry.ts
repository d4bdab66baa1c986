import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs work again when the server had to undo it for the sake of a concurrent transaction
 * (SQLSTATE 40001, serialization failure; 40P01, deadlock). See
 * https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
 */
export interface RetryOptions {
  /** How often the work may run, the first time included; 2 or more. */
  readonly attempts: number;
  /**
   * Longest pause before the second attempt, in milliseconds; doubled for each further one. The
   * pause is drawn at random, so that those who met do not meet again.
   * @defaultValue 20
   */
  readonly backoffMs?: number;
}

const DEFAULT_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 2_000;
const RETRYABLE = new Set(['40001', '40P01']);

/** Whether the work may be run again, after `attempt` attempts that ended with `error`. */
function mayRetry(
  retry: RetryOptions | undefined,
  attempt: number,
  error: unknown,
): retry is RetryOptions {
  return retry !== undefined && attempt < retry.attempts && isSerializationFailure(error);
}

/** Waits before the next attempt. */
async function backOff(retry: RetryOptions, attempt: number): Promise<void> {
  const { backoffMs = DEFAULT_BACKOFF_MS } = retry;
  const longestMs = Math.min(backoffMs * 2 ** (attempt - 1), LONGEST_BACKOFF_MS);
  await sleep(Math.random() * longestMs);
}

/**
 * Runs `work` until it succeeds, fails for another reason, or may not be run again.
 *
 * @throws the error of the last attempt
 */
export async function withRetry<T>(
  retry: RetryOptions | undefined,
  work: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!mayRetry(retry, attempt, error)) {
        throw error;
      }
      await backOff(retry, attempt);
    }
  }
}

/** Also where the failure was swallowed, and only the refused commit tells of it. */
function isSerializationFailure(error: unknown): boolean {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: { code?: unknown } };
  return RETRYABLE.has(String(code)) || RETRYABLE.has(String(cause?.code));
}
