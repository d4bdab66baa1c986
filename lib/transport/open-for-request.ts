import { ServiceUnavailableException } from '@nestjs/common';

import type { DbContainer } from '../context/container.js';
import type { ContextHost } from '../context/context-host.js';
import { ShuttingDownError } from '../errors.js';

/**
 * Opens the context of a request.
 *
 * @param origin its route, for messages
 * @throws ServiceUnavailableException the application is shutting down; another instance may answer
 */
export function openForRequest(host: ContextHost, origin: string): DbContainer {
  try {
    return host.open(origin);
  } catch (error) {
    throw error instanceof ShuttingDownError
      ? new ServiceUnavailableException(error.message, { cause: error })
      : error;
  }
}
