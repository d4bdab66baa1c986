import type { LoggerService } from '@nestjs/common';

/** The logger of a program: it keeps the errors, by their classes. */
export class ErrorLog implements LoggerService {
  readonly errors: string[] = [];

  log(): void {}
  warn(): void {}

  error(message: unknown): void {
    this.errors.push(message instanceof Error ? message.constructor.name : String(message));
  }
}
