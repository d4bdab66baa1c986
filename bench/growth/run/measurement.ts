import type { Profiler } from 'node:inspector';

import type { Figures } from '../curve.js';

/** What the process of a side is asked for. */
export interface Measurement {
  readonly points: readonly number[];
  readonly units: number;
  /** Whether a profile is recorded, or the promises are counted. */
  readonly also?: 'profile' | 'promises';
}

/** What it answers. */
export interface Measured {
  /** For each of the points. */
  readonly figures: readonly Figures[];
  readonly profile?: Profiler.Profile;
  /** How many promises were made for each unit. */
  readonly promises?: number;
}
