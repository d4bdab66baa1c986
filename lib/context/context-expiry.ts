import { ContextTimeoutError, type EndCause } from '../errors.js';
import type { Context } from './context.js';
import { endCauseOf } from './end-cause.js';

/**
 * Rolls a context back when it has been open for too long.
 *
 * @param timeoutMs its limit, in milliseconds
 * @param abandon rolls it back
 */
export function expireLater(
  context: Context,
  timeoutMs: number,
  abandon: (cause: EndCause) => Promise<void>,
): NodeJS.Timeout {
  const expire = (): void => {
    // One that is ending has other limits, and its outcome comes from the server.
    if (!context.isClosed) {
      const { onExpire } = context;
      const error = new ContextTimeoutError(context.origin, timeoutMs);
      void abandon(endCauseOf(error));
      onExpire?.(error);
    }
  };
  return setTimeout(expire, timeoutMs).unref();
}
