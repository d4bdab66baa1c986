import type { Figures } from '../curve.js';
import { Stopwatch } from './stopwatch.js';

/** Measures one side along one curve, in the process of that side. */
export type Work = (points: readonly number[], units: number) => Promise<readonly Figures[]>;

/** The time of units one after another: on the clock, and of the processor. */
export function timed(unit: (x: number) => Promise<unknown>): Work {
  return async ([x = 0], units) => {
    // Each measurement pays for its own garbage.
    globalThis.gc!();
    const watch = new Stopwatch();
    for (let index = 0; index < units; index++) {
      await unit(x);
    }
    const { wallUs, cpuUs } = watch.read(units);
    return [{ wallMs: wallUs / 1_000, cpuMs: cpuUs / 1_000 }];
  };
}
