import { setTimeout as sleep } from 'node:timers/promises';

import { LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { CommitOutcomeUnknownError, InvalidOptionsError, PartialCommitError } from '../errors.js';

/**
 * Runs work again when the server had to undo it for the sake of a concurrent transaction
 * (SQLSTATE 40001, serialization failure; 40P01, deadlock). See
 * https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
 *
 * @publicApi
 */
export interface RetryOptions {
  /** How often the work may run, the first time included; a whole number, 2 or more. */
  readonly attempts: number;
  /**
   * Longest pause before the second attempt, in milliseconds, 0 or more; doubled for each further
   * one, up to two seconds or to this value, whichever is longer. The pause is drawn at random, so
   * that those who met do not meet again.
   * @defaultValue 20
   */
  readonly backoffMs?: number;
}

const DEFAULT_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 2_000;
// Doubled more often, zero times infinity would be no number.
const MOST_DOUBLINGS = 30;
const RETRYABLE = new Set(['40001', '40P01']);
const NAMES: readonly string[] = ['attempts', 'backoffMs'] satisfies (keyof RetryOptions)[];

/**
 * Looks at options; types do not reach what comes from the environment, or from JavaScript.
 *
 * @param where begins the sentence of the error
 * @throws {@link InvalidOptionsError}
 */
export function checkRetryOptions(
  retry: RetryOptions | undefined,
  where: string,
): asserts retry is RetryOptions {
  if (typeof retry !== 'object' || retry === null) {
    throw new InvalidOptionsError(
      `${where} is ${String(retry)}. Give an object, such as { attempts: 3 }.`,
    );
  }
  const refuse = (key: string, mend: string): never => {
    const value: unknown = retry[key as keyof RetryOptions];
    throw new InvalidOptionsError(`${where} has ${key}: ${String(value)}. Give ${mend}.`);
  };
  for (const key of Object.keys(retry)) {
    if (!NAMES.includes(key)) {
      refuse(key, `one of ${NAMES.join(', ')}`);
    }
  }
  const { attempts, backoffMs = DEFAULT_BACKOFF_MS } = retry;
  if (!Number.isInteger(attempts) || attempts < 2) {
    refuse('attempts', 'a whole number of 2 or more; the first time counts');
  }
  if (typeof backoffMs !== 'number' || !(backoffMs >= 0 && backoffMs <= LONGEST_LIMIT_MS)) {
    refuse('backoffMs', `a number of milliseconds between 0 and ${LONGEST_LIMIT_MS}`);
  }
}

/** Whether the work may be run again, after `attempt` attempts of which the last threw `error`. */
export function mayRetry(retry: RetryOptions, attempt: number, error: unknown): boolean {
  return attempt < retry.attempts && isSerializationFailure(error);
}

/** How long to wait after `attempt` attempts, in milliseconds. */
export function drawPauseMs(retry: RetryOptions, attempt: number): number {
  const { backoffMs = DEFAULT_BACKOFF_MS } = retry;
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
export function withRetry<T>(retry: RetryOptions | undefined, begin: () => Attempt<T>): Promise<T> {
  return retry === undefined ? begin().run() : runAttempts(retry, begin);
}

async function runAttempts<T>(retry: RetryOptions, begin: () => Attempt<T>): Promise<T> {
  checkRetryOptions(retry, 'retry');
  for (let number = 1; ; number++) {
    const attempt = begin();
    try {
      return await attempt.run();
    } catch (error) {
      if (!mayRetry(retry, number, error) || !attempt.isUndone()) {
        throw error;
      }
      await sleep(drawPauseMs(retry, number));
    }
  }
}

/** Also where the failure was swallowed or wrapped, and only the `cause` tells of it. */
function isSerializationFailure(error: unknown): boolean {
  if (error instanceof PartialCommitError || error instanceof CommitOutcomeUnknownError) {
    // Something is saved, or may be: a second time would save it twice.
    return false;
  }
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: { code?: unknown } };
  return RETRYABLE.has(String(code)) || RETRYABLE.has(String(cause?.code));
}
