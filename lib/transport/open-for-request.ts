import { ServiceUnavailableException } from '@nestjs/common';

import type { DbContainer } from '../context/container.js';
import type { ContextHost } from '../context/context-host.js';
import { ShuttingDownError } from '../errors.js';

/**
 * Opens the context of a request.
 *
 * @throws ServiceUnavailableException the application is shutting down; another instance may answer
 */
export function openForRequest(host: ContextHost): DbContainer {
  try {
    return host.open();
  } catch (error) {
    throw error instanceof ShuttingDownError
      ? new ServiceUnavailableException(error.message, { cause: error })
      : error;
  }
}
