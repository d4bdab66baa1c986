import { setImmediate as nextTurn } from 'node:timers/promises';

import { heapUsed } from './memory.js';
import { Stopwatch } from './stopwatch.js';
import type { Stand } from './stand.js';
import type { Work } from './timed.js';

/** Opens so many units of work at the same time, and ends them together. */
export function contexts(stand: Stand): Work {
  return async ([count = 0]) => {
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    // The array has its size before the heap is measured.
    const all: Promise<void>[] = Array.from({ length: count }, () => Promise.resolve());
    const before = await heapUsed();
    const opening = new Stopwatch();
    for (let index = 0; index < count; index++) {
      all[index] = stand.hold(over);
    }
    // What goes on in microtasks is part of it.
    await nextTurn();
    const opened = opening.read(count);
    const bytes = (await heapUsed()) - before;
    const settling = new Stopwatch();
    end();
    await Promise.all(all);
    const settled = settling.read(count);
    return [
      {
        bytesEach: bytes / count,
        openUs: opened.wallUs,
        openCpuUs: opened.cpuUs,
        settleUs: settled.wallUs,
        settleCpuUs: settled.cpuUs,
      },
    ];
  };
}
