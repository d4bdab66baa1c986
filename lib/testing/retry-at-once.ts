import { mayRetry } from '../context/retry.js';
import { checkRetryOptions } from '../options/check-retry-options.js';
import type { RetryOptions } from '../options/retry-options.js';

/** As in production, without the pauses. */
export async function retryAtOnce<T>(
  retry: RetryOptions | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (retry === undefined) {
    return work();
  }
  checkRetryOptions(retry, 'retry');
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!mayRetry(retry, attempt, error)) {
        throw error;
      }
    }
  }
}
