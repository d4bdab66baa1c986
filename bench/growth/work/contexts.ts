import { setImmediate as nextTurn } from 'node:timers/promises';

import { heapUsed } from './memory.js';
import type { Stand } from './stand.js';
import type { Work } from './timed.js';

/** Opens so many units of work at the same time, and ends them together. */
export function contexts(stand: Stand): Work {
  return async ([count = 0]) => {
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    // The array has its size before the heap is measured.
    const all: Promise<void>[] = Array.from({ length: count }, () => Promise.resolve());
    const before = await heapUsed();
    const openedMs = performance.now();
    for (let index = 0; index < count; index++) {
      all[index] = stand.hold(over);
    }
    // What goes on in microtasks is part of it.
    await nextTurn();
    const openMs = performance.now() - openedMs;
    const bytes = (await heapUsed()) - before;
    const endedMs = performance.now();
    end();
    await Promise.all(all);
    const settleMs = performance.now() - endedMs;
    return [
      {
        bytesEach: bytes / count,
        openUs: (openMs * 1_000) / count,
        settleUs: (settleMs * 1_000) / count,
      },
    ];
  };
}
