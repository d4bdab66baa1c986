import { Row } from './entities.js';
import { MemoryPeak } from './memory.js';
import type { Stand } from './stand.js';
import { timed, type Work } from './timed.js';

/** How many rows lie between two looks at the memory. */
const SAMPLED_ROWS = 500;

/** Reads so many rows as a stream, and looks at the memory meanwhile. */
export function stream(stand: Stand): Work {
  return async (points, units) => {
    const peak = new MemoryPeak();
    const read = timed((rows) =>
      stand.run(async (em) => {
        let count = 0;
        for await (const row of em.stream(Row, { where: { id: { $lte: rows } } })) {
          count += row.id > 0 ? 1 : 0;
          if (count % SAMPLED_ROWS === 0) {
            peak.sample();
          }
        }
        if (count !== rows) {
          throw new Error(`${count} of ${rows} rows have come`);
        }
      }),
    );
    const [time] = await read(points, units);
    return [{ ...time, heapPeakMiB: peak.heapMiB, rssPeakMiB: peak.rssMiB }];
  };
}
