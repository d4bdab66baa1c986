import { Logger } from '@nestjs/common';

import type { Reporters } from '../context/context-probe.js';

const logger = new Logger('DbContext');

/** Writes errors that no caller can catch, and warnings, to Nest's logger. */
export const logReporters: Reporters = {
  report: (message, error) => {
    logger.error(
      `${message}: ${error instanceof Error ? error.message : String(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  },
  warn: (message) => logger.warn(message),
};

const mikroOrmLogger = new Logger('MikroORM');

/** Writes the log of MikroORM to Nest's logger, as the option `logger` of MikroORM. */
export function logOfMikroOrm(message: string): void {
  mikroOrmLogger.log(message);
}
