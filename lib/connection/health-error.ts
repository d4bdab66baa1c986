import type { HealthError } from './connection-health.js';

/**
 * What is told of an error to whoever may see a health endpoint.
 *
 * @param password that must not be in it, where it is known
 */
export function healthErrorOf(error: unknown, password?: unknown): HealthError {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  const message = messageOf(error).replaceAll(/\/\/[^\s/]*@/g, '//***@');
  return {
    message:
      typeof password === 'string' && password !== ''
        ? message.replaceAll(password, '***')
        : message,
    ...(typeof code === 'string' && { code }),
  };
}

/** A name with several addresses that all refuse is an `AggregateError` without a message. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(messageOf).join(', ');
  }
  return error instanceof Error ? error.message : String(error);
}
