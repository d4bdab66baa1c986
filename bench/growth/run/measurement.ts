import type { Profiler } from 'node:inspector';

import type { Figures } from '../curve.js';

/** What the process of a side is asked for. */
export interface Measurement {
  readonly points: readonly number[];
  readonly units: number;
  readonly isRecorded: boolean;
}

/** What it answers. */
export interface Measured {
  /** For each of the points. */
  readonly figures: readonly Figures[];
  /** The profile, where the measurement was recorded. */
  readonly profile?: Profiler.Profile;
}
