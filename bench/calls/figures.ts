import type { Spread } from '../report/statistics.js';

/** What one call takes, in nanoseconds. */
export interface CallFigures {
  readonly name: string;
  /** Through the injected session, or of the library where there is nothing to compare. */
  readonly sessionNs: Spread;
  /** On a fork that is held in a variable. */
  readonly forkNs?: Spread;
  readonly moreNs?: Spread;
}

/** What is on the heap for each of many that are open at the same time. */
export interface MemoryFigures {
  readonly name: string;
  readonly bytesEach: number;
}
