import { ServiceUnavailableException } from '@nestjs/common';

import type { WrittenLsns } from '../connection/written-lsns.js';
import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { ShuttingDownError } from '../errors.js';

/**
 * Opens the context of a request.
 *
 * @param origin the route of the request, for messages
 * @param writtenLsns the LSNs of what its client has written
 * @throws ServiceUnavailableException the application is shutting down; another instance may answer
 */
export function openForRequest(
  registry: ContextRegistry,
  origin: string,
  writtenLsns?: WrittenLsns,
): Context {
  try {
    return registry.open(origin, writtenLsns);
  } catch (error) {
    throw error instanceof ShuttingDownError
      ? new ServiceUnavailableException(error.message, { cause: error })
      : error;
  }
}
