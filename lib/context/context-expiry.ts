import { ContextTimeoutError, type EndCause, type ShuttingDownError } from '../errors.js';
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
      void cutOff(context, new ContextTimeoutError(context.origin, timeoutMs), abandon);
    }
  };
  return setTimeout(expire, timeoutMs).unref();
}

/**
 * Rolls a context back whose time is over.
 *
 * @param abandon rolls it back
 */
export function cutOff(
  context: Context,
  error: ContextTimeoutError | ShuttingDownError,
  abandon: (cause: EndCause) => Promise<void>,
): Promise<void> {
  // The outcome of a commit that is under way comes from the server, within a limit of its own.
  const isOpen = !context.isClosed;
  const { onExpire } = context;
  const abandoned = abandon(endCauseOf(error));
  if (isOpen) {
    // Its code may never return, or answers with what the library has thrown for the rollback.
    onExpire?.(error);
  }
  return abandoned;
}
