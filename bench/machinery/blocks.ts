import type { Profiler } from 'node:inspector';

import type { Workload } from '../workloads.js';

/** How a request gets to Fastify: as from Node's server, or by Fastify's `inject()`. */
export type Way = 'direct' | 'inject';

/** A number of requests of one candidate; blocks run one after another. */
export interface Block {
  /** The index of the candidate in the list that the process was started with. */
  readonly entrant: number;
  readonly workload: Workload;
  readonly requests: number;
  readonly isRecorded: boolean;
}

/** The time that each request of a block took, in microseconds. */
export interface BlockFigures {
  /** CPU time of the process, its threads for garbage and the compiler included. */
  readonly cpuUs: number;
  readonly wallUs: number;
  /** The profile, where the block was recorded. */
  readonly profile?: Profiler.Profile;
}
