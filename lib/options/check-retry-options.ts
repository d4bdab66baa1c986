import { LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULTS } from './defaults.js';
import { checkKeys } from './option-keys.js';
import type { RetryOptions } from './retry-options.js';

/**
 * Checks options at run time, for those that come from the environment, or from JavaScript.
 *
 * @param where the beginning of the error's message
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
  const refuse = (key: string, advice: string): never => {
    const value: unknown = retry[key as keyof RetryOptions];
    throw new InvalidOptionsError(`${where} has ${key}: ${String(value)}. Give ${advice}.`);
  };
  checkKeys(retry, 'retry', where);
  const { attempts, backoffMs = DEFAULTS.retry.backoffMs } = retry;
  if (!Number.isInteger(attempts) || attempts < 2) {
    refuse('attempts', 'a whole number of 2 or more; the first time counts');
  }
  if (typeof backoffMs !== 'number' || !(backoffMs >= 0 && backoffMs <= LONGEST_LIMIT_MS)) {
    refuse('backoffMs', `a number of milliseconds between 0 and ${LONGEST_LIMIT_MS}`);
  }
}
