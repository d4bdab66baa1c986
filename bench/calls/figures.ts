import type { Spread } from '../report/statistics.js';

/** The time that one call takes, in nanoseconds. */
export interface CallFigures {
  readonly name: string;
  /** The time through the injected session or the global entity manager, or of the library's own call. */
  readonly sessionNs: Spread;
  /** The time of the same call on a fork that is held in a variable, or without the library at all. */
  readonly forkNs?: Spread;
  readonly moreNs?: Spread;
}

/** The heap that each of many objects takes that are open at the same time. */
export interface MemoryFigures {
  readonly name: string;
  readonly bytesEach: number;
}
