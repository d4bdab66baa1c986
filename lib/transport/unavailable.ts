import { ServiceUnavailableException, type ExecutionContext } from '@nestjs/common';

import { ShuttingDownError, type ContextTimeoutError } from '../errors.js';
import type { HttpResponse } from './http-exchange.js';
import { setHeader } from './response-headers.js';

/** What a client may read. Classes and routes of the application are in the log alone. */
const REFUSED = 'The application is shutting down. Send the request again.';
const CUT_OFF = 'The application is shutting down. The request took too long, and was rolled back.';
const TIMED_OUT = 'The request took too long, and was rolled back.';

/**
 * Whether the caller waits for an answer and may ask another instance. All else has been taken from
 * somewhere by a consumer of this instance, and would be lost if it were refused.
 */
export function isRequest(executionContext: ExecutionContext): boolean {
  const type = executionContext.getType<string>();
  return type === 'http' || type === 'graphql';
}

/** The answer to a request that is not done, or not to its end: 503. */
export function unavailable(
  error: ShuttingDownError | ContextTimeoutError,
  cause: unknown = error,
): ServiceUnavailableException {
  return new ServiceUnavailableException(publicMessage(error), { cause });
}

function publicMessage(error: ShuttingDownError | ContextTimeoutError): string {
  if (error instanceof ShuttingDownError) {
    return error.cutOff === undefined ? REFUSED : CUT_OFF;
  }
  return TIMED_OUT;
}

/** Makes a client open a new connection for its next request, which may lead to another instance. */
export function closeAfterResponse(response: HttpResponse | undefined): void {
  // HTTP/2 has no such header: its server says goodbye to the whole session as it closes.
  if (response !== undefined && (response.raw ?? response).stream === undefined) {
    setHeader(response, 'connection', 'close');
  }
}
