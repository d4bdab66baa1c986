import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

const POLL_INTERVAL_MS = 10;

/** What {@link waitFor} waits for, and how long. */
export interface WaitForOptions {
  /** Completes the sentence "waited in vain for …" of the error. */
  readonly what: string;
  /**
   * Longest wait in milliseconds.
   * @defaultValue 10_000
   */
  readonly timeoutMs?: number;
}

/**
 * Polls `predicate` every 10 ms until it holds.
 *
 * @throws Error that says what was awaited, when it does not hold within `timeoutMs`; and any error that
 * `predicate` throws, at once
 */
export async function waitFor(
  predicate: () => boolean | Promise<boolean>,
  { what, timeoutMs = 10_000 }: WaitForOptions,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await predicate())) {
    if (performance.now() >= deadline) {
      // Where the machine has stood still, what is awaited may be due, and only come after this in the event loop.
      await nextTurn();
      if (await predicate()) {
        return;
      }
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    }
    await sleep(POLL_INTERVAL_MS);
  }
}
