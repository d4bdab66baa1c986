import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import type { Context } from './context.js';

/** The contexts of one application that have not been settled, so that a shutdown finds them (H3). */
export class RunningContexts {
  /**
   * Each at its `slot`. A list rather than a map: a map that lives as long as the application, and
   * changes with each request, makes V8 keep what the requests hold until a major collection.
   */
  readonly #contexts: Context[] = [];
  /** Those that the drain waits for, once it has begun. */
  #awaited: Set<Context> | undefined;
  #onDrained: (() => void) | undefined;
  #onIdle: (() => void) | undefined;

  get count(): number {
    return this.#contexts.length;
  }

  add(context: Context): void {
    context.slot = this.#contexts.push(context) - 1;
  }

  /** Makes a drain that is under way wait for a context that was opened after its beginning. */
  await(context: Context): void {
    this.#awaited?.add(context);
  }

  /** @returns whether the context was running */
  remove(context: Context): boolean {
    const { slot } = context;
    if (slot === undefined) {
      return false;
    }
    clearTimeout(context.expiry);
    context.slot = undefined;
    const last = this.#contexts.pop()!;
    if (last !== context) {
      this.#contexts[slot] = last;
      last.slot = slot;
    }
    if (this.#awaited?.delete(context) === true && this.#awaited.size === 0) {
      this.#onDrained?.();
    }
    if (this.#contexts.length === 0) {
      this.#onIdle?.();
    }
    return true;
  }

  /**
   * Waits until none of those is left that run now, or that the drain was made to wait for since.
   *
   * @param timeoutMs in milliseconds
   * @returns those of the former that still run after that
   */
  async untilDrained(timeoutMs: number): Promise<readonly Context[]> {
    if (this.#contexts.length === 0) {
      return [];
    }
    const running = [...this.#contexts];
    const awaited = new Set(running);
    this.#awaited = awaited;
    const drained = new Promise<void>((resolve) => {
      this.#onDrained = resolve;
    });
    const isLate = (await withinLimit(drained, timeoutMs)) === TIMED_OUT;
    this.#awaited = undefined;
    return isLate ? running.filter((each) => awaited.has(each)) : [];
  }

  /**
   * Waits for all of them to end.
   *
   * @param timeoutMs in milliseconds
   * @returns those that still run after that
   */
  async untilIdle(timeoutMs: number): Promise<readonly Context[]> {
    if (this.#contexts.length === 0) {
      return [];
    }
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    return (await withinLimit(idle, timeoutMs)) === TIMED_OUT ? [...this.#contexts] : [];
  }
}
