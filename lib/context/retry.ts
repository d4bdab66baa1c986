import { setTimeout as sleep } from 'node:timers/promises';

import { CommitOutcomeUnknownError, PartialCommitError } from '../errors.js';
import { checkRetryOptions } from '../options/check-retry-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { retry as retries } from '../telemetry/channels.js';
import { errorInfoOf } from '../telemetry/error-info.js';
import type { RetryOptions } from '../options/retry-options.js';

const LONGEST_BACKOFF_MS = 2_000;
// Doubled more often, zero times infinity would be no number.
const MOST_DOUBLINGS = 30;
const RETRYABLE = new Set(['40001', '40P01']);
/** Whether the work may be run again, after `attempt` attempts of which the last threw `error`. */
export function mayRetry(retry: RetryOptions, attempt: number, error: unknown): boolean {
  return attempt < retry.attempts && isSerializationFailure(error);
}

/** How long to wait after `attempt` attempts, in milliseconds. */
export function drawPauseMs(retry: RetryOptions, attempt: number): number {
  const { backoffMs = DEFAULTS.retry.backoffMs } = retry;
  const doubledMs = backoffMs * 2 ** Math.min(attempt - 1, MOST_DOUBLINGS);
  return Math.random() * Math.min(doubledMs, Math.max(backoffMs, LONGEST_BACKOFF_MS));
}

/** One run of work that may be run again. */
export interface Attempt<T> {
  run(): Promise<T>;
  /** Whether nothing of it is left when it has failed: a part may have been committed early. */
  isUndone(): boolean;
}

/**
 * Makes and runs attempts until one succeeds, fails for another reason, or may not be run again.
 *
 * @throws the error of the last attempt
 * @throws {@link InvalidOptionsError} `retry` cannot be; nothing has run then
 */
export function withRetry<T>(
  retry: RetryOptions | undefined,
  origin: string,
  begin: () => Attempt<T>,
): Promise<T> {
  return retry === undefined ? begin().run() : runAttempts(retry, origin, begin);
}

async function runAttempts<T>(
  retry: RetryOptions,
  origin: string,
  begin: () => Attempt<T>,
): Promise<T> {
  checkRetryOptions(retry, 'retry');
  for (let number = 1; ; number++) {
    const attempt = begin();
    try {
      return await attempt.run();
    } catch (error) {
      if (!mayRetry(retry, number, error) || !attempt.isUndone()) {
        throw error;
      }
      const pauseMs = drawPauseMs(retry, number);
      publishRetry(origin, number, pauseMs, { error });
      await sleep(pauseMs);
    }
  }
}

/** Publishes that what has failed is to be run again. */
export function publishRetry(
  origin: string,
  attempt: number,
  pauseMs: number,
  failure?: { readonly error: unknown },
): void {
  if (retries.hasSubscribers) {
    retries.publish({ origin, attempt, pauseMs, error: failure && errorInfoOf(failure.error) });
  }
}

/** Also where the failure was swallowed or wrapped, and only the `cause` shows it. */
function isSerializationFailure(error: unknown): boolean {
  if (error instanceof PartialCommitError || error instanceof CommitOutcomeUnknownError) {
    // Something is saved, or may be: a second time would save it twice.
    return false;
  }
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: { code?: unknown } };
  return RETRYABLE.has(String(code)) || RETRYABLE.has(String(cause?.code));
}
