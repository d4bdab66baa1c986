import type { EntityManager } from '@mikro-orm/postgresql';

import type { Figures } from '../curve.js';
import { heapUsed, mebibytes } from './memory.js';
import { Stopwatch } from './stopwatch.js';
import type { Stand } from './stand.js';
import type { Work } from './timed.js';

const WARM_UP_STATEMENTS = 20_000;

async function executeOften(em: EntityManager, times: number): Promise<void> {
  for (let statement = 0; statement < times; statement++) {
    await em.execute('select 1');
  }
}

/** One unit of work of many statements; at each point the time of a statement since the point before. */
export function long(stand: Stand): Work {
  return async (points) => {
    const last = points.at(-1)!;
    await stand.run((em) => executeOften(em, Math.min(last, WARM_UP_STATEMENTS)));
    return stand.run(async (em) => {
      const figures: Figures[] = [];
      let done = 0;
      for (const point of points) {
        const watch = new Stopwatch();
        await executeOften(em, point - done);
        const { wallUs, cpuUs } = watch.read(point - done);
        figures.push({
          statementUs: wallUs,
          statementCpuUs: cpuUs,
          heapMiB: mebibytes(await heapUsed()),
        });
        done = point;
      }
      return figures;
    });
  };
}
