import { withoutPage } from '../error-page.js';
import type { HealthError } from './connection-health.js';

/**
 * The part of an error that a public health endpoint may show.
 *
 * @param password a password to replace in the message, where it is known
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

/** The message of an error; Node's error for a host with several addresses has none of its own. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(messageOf).join(', ');
  }
  return withoutPage(error instanceof Error ? error.message : String(error));
}
