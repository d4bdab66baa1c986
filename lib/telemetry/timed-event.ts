import { errorInfoOf, type ErrorInfo } from './error-info.js';

/**
 * What takes time, and may fail: all events of it are one object, which is complete with the last of them.
 *
 * @publicApi
 */
export abstract class TimedEvent {
  /** When it was asked for, by `performance.now()`. */
  readonly startedAt = performance.now();
  #durationMs: number | undefined;
  #error: ErrorInfo | undefined;

  /** In milliseconds; `undefined` until it is over. */
  get durationMs(): number | undefined {
    return this.#durationMs;
  }

  /** Why it has failed, if it has. */
  get error(): ErrorInfo | undefined {
    return this.#error;
  }

  /** @internal */
  succeeded(): void {
    this.#durationMs = performance.now() - this.startedAt;
  }

  /** @internal */
  failed(error: unknown): void {
    this.succeeded();
    this.#error = errorInfoOf(error);
  }
}
