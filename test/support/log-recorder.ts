import type { LoggerService } from '@nestjs/common';

interface LogLine {
  readonly level: 'log' | 'warn' | 'error';
  readonly context: unknown;
  readonly message: string;
}

/** Takes the place of Nest's console logger, for `app.useLogger()`. */
export class LogRecorder implements LoggerService {
  readonly lines: LogLine[] = [];

  log(message: unknown, ...rest: unknown[]): void {
    this.#add('log', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.#add('warn', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.#add('error', message, rest);
  }

  /** Messages that this library wrote. */
  ofLibrary(level: LogLine['level']): string[] {
    return this.lines
      .filter((line) => line.level === level && line.context === 'DbContext')
      .map(({ message }) => message);
  }

  #add(level: LogLine['level'], message: unknown, rest: unknown[]): void {
    // Nest passes the context as the last parameter.
    this.lines.push({ level, context: rest.at(-1), message: String(message) });
  }
}
