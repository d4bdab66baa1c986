import { ServiceUnavailableException } from '@nestjs/common';

import type { WritePositions } from '../connection/write-positions.js';
import type { DbContainer } from '../context/container.js';
import type { ContextHost } from '../context/context-host.js';
import { ShuttingDownError } from '../errors.js';

/**
 * Opens the context of a request.
 *
 * @param origin its route, for messages
 * @param positions what its client has written
 * @throws ServiceUnavailableException the application is shutting down; another instance may answer
 */
export function openForRequest(
  host: ContextHost,
  origin: string,
  positions?: WritePositions,
): DbContainer {
  try {
    return host.open(origin, positions);
  } catch (error) {
    throw error instanceof ShuttingDownError
      ? new ServiceUnavailableException(error.message, { cause: error })
      : error;
  }
}
