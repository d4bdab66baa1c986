import { TIMED_OUT } from '../connection/time-limit.js';

/** The timers of Node, taken before a test can replace them. */
const { setTimeout: realSetTimeout, clearTimeout: realClearTimeout } = globalThis;

/**
 * Whether a test has replaced `process.nextTick()`. The clocks of Jest and Vitest are those of
 * `@sinonjs/fake-timers`, whose functions know the clock that they are of.
 */
export function isTickFake(): boolean {
  return 'clock' in (Reflect.get(process, 'nextTick') as object);
}

/** As `withinLimit()`, by a timer that no fake clock holds back. */
export async function withinRealTime<T>(
  work: Promise<T>,
  limitMs: number,
): Promise<T | typeof TIMED_OUT> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof TIMED_OUT>((resolve) => {
    timer = realSetTimeout(() => resolve(TIMED_OUT), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    realClearTimeout(timer);
  }
}
