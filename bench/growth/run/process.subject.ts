import type { Profiler } from 'node:inspector';

import { startChild } from '../../http/child.js';
import type { Curve, Side, Subject } from '../curve.js';
import type { Measured, Measurement } from './measurement.js';

/** Enough of them that what is made only now and then, such as by a timer, does not count. */
const COUNTED_UNITS = 10;

/** One side in a process of its own, where V8 compiles for it alone and the garbage is its own. */
export interface ProcessSubject extends Subject {
  /** Measures once, with the profiler on. */
  record(x: number, units: number): Promise<Profiler.Profile>;
}

/** @param databaseUrl `undefined` for canned answers */
export async function openProcess(
  { name }: Curve,
  side: Side,
  databaseUrl: string | undefined,
): Promise<ProcessSubject> {
  const file = new URL('../growth.server.js', import.meta.url);
  const args = [side, name, ...(databaseUrl === undefined ? [] : [databaseUrl])];
  const child = await startChild(file, args, ['--expose-gc']);
  const ask = async (measurement: Measurement): Promise<Measured> =>
    (await child.ask(measurement)) as Measured;
  return {
    measure: async (points, units) => (await ask({ points, units })).figures,
    countPromises: async (x) => {
      const units = COUNTED_UNITS;
      return Math.round((await ask({ points: [x], units, also: 'promises' })).promises!);
    },
    record: async (x, units) => (await ask({ points: [x], units, also: 'profile' })).profile!,
    stop: () => child.stop(),
  };
}
