import { Logger } from '@nestjs/common';

const logger = new Logger('DbContext');

/** Reports a fault that has no caller to be thrown at. */
export function reportFault(message: string, error: unknown): void {
  logger.error(
    `${message}: ${error instanceof Error ? error.message : String(error)}`,
    error instanceof Error ? error.stack : undefined,
  );
}
