/** The two that are compared. The first one is this library. */
export const SIDES = ['library', 'hand-written'] as const;

export type Side = (typeof SIDES)[number];

/** What one measurement found, by the name of its measure. */
export type Figures = Readonly<Record<string, number>>;

/** One quantity that is measured along a curve, and drawn by itself. */
export interface Measure {
  /** The key in {@link Figures}. */
  readonly name: string;
  /** What it is, in the title of the picture: `time`. */
  readonly title: string;
  readonly unit: string;
  readonly scale: 'linear' | 'log';
  /** The name of the picture, without `.svg`. */
  readonly file: string;
  /** Whether a larger value is the better one. */
  readonly isMoreBetter?: boolean;
}

/** What the two work with: a server, the same behind a link, canned answers, or HTTP before a server. */
type Wire = 'server' | 'link' | 'canned' | 'http';

/** How a figure grows with one thing. */
export interface Curve {
  readonly name: string;
  readonly title: string;
  /** What one unit does on either side, for the caption. */
  readonly description: string;
  readonly x: { readonly label: string; readonly scale: 'linear' | 'log' };
  readonly points: readonly number[];
  /** The points of `--quick`. */
  readonly quickPoints: readonly number[];
  readonly measures: readonly Measure[];
  readonly wire: Wire;
  /** Rounds at each point, where the usual number would take too long. */
  readonly rounds?: number;
  /**
   * How many units make one measurement at a point; by default as many as fill a block of time, the same
   * number on both sides.
   */
  readonly units?: (x: number) => number;
  /** Whether the promises of a unit are counted. */
  readonly isCounted?: boolean;
  /** Whether one measurement passes all points, one after another. */
  readonly isSweep?: boolean;
}

/** One side that is ready to be measured. */
export interface Subject {
  /** @returns figures for each of the points */
  measure(points: readonly number[], units: number): Promise<readonly Figures[]>;
  /**
   * Counts the promises of one unit, which no noise of the machine changes. Only after all that is timed:
   * once they were counted, V8 makes promises more slowly.
   */
  countPromises?(x: number): Promise<number>;
  stop(): Promise<void>;
}
