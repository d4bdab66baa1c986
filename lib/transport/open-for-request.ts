import type { WrittenLsns } from '../connection/written-lsns.js';
import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import type { HttpResponse } from './http-exchange.js';
import { closeAfterResponse, unavailable } from './unavailable.js';

/** What a context is opened for. */
export interface Opening {
  /** The route, for messages. */
  readonly origin: string;
  /** The response of an HTTP request. */
  readonly response: HttpResponse | undefined;
  /** Whether it is a request, which another instance may answer, rather than a message. */
  readonly isRequest: boolean;
  /** The LSNs of what the client has written. */
  readonly writtenLsns?: WrittenLsns | undefined;
}

/**
 * Opens the context of a request, or of a message.
 *
 * @throws ServiceUnavailableException for a request: the application is shutting down
 * @throws {@link ShuttingDownError} for a message: the application has closed its consumers
 */
export function openForRequest(registry: ContextRegistry, opening: Opening): Context {
  const { origin, response, isRequest, writtenLsns } = opening;
  if (isRequest && registry.shutdown.hasBegun && registry.active() === undefined) {
    closeAfterResponse(response);
    throw unavailable(registry.shutdown.refusal(origin));
  }
  return registry.openToAnswer(origin, writtenLsns);
}
