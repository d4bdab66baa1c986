import { DbContextError, type DbContextErrorCode } from './db-context-error.js';

/**
 * What can end a unit of work while its code is still running.
 *
 * - `CLIENT_GONE`: its client went away, or the reader of its stream
 * - `REQUEST_GIVEN_UP`: what had called its handler, an interceptor for one, no longer waits for the answer
 * - `RESPONSE_CLOSED`: its response was closed before the handler began
 * - `SUBSCRIPTION_ENDED`: the subscription of GraphQL whose event it was has ended
 * - the others are the codes of the errors that say so
 *
 * @publicApi
 */
export type EndCode =
  | 'CLIENT_GONE'
  | 'REQUEST_GIVEN_UP'
  | 'RESPONSE_CLOSED'
  | 'SUBSCRIPTION_ENDED'
  | Extract<DbContextErrorCode, 'CONTEXT_TIMEOUT' | 'SHUTTING_DOWN' | 'STREAM_TIMEOUT'>;

/** What ended a context while its code was still running. */
export interface EndCause {
  readonly code: EndCode;
  /** Goes on after "because". */
  readonly what: string;
  readonly error?: DbContextError;
}
