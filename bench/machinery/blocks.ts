import type { Profiler } from 'node:inspector';

import type { Workload } from '../workloads.js';

/** How a request gets to Fastify: as from Node's server, or by Fastify's `inject()`. */
export type Way = 'direct' | 'inject';

/** So many requests of one candidate, one block after another. */
export interface Block {
  /** Its place in the list of candidates that the process was started with. */
  readonly entrant: number;
  readonly workload: Workload;
  readonly requests: number;
  readonly isRecorded: boolean;
}

/** What each request of a block took, in microseconds. */
export interface BlockFigures {
  /** CPU time of the process, its threads for garbage and the compiler included. */
  readonly cpuUs: number;
  readonly wallUs: number;
  /** Where it was recorded. */
  readonly profile?: Profiler.Profile;
}
