import { quartilesOf, type Quartiles } from '../../report/statistics.js';
import { SIDES, type Curve, type Measure, type Side } from '../curve.js';
import type { PromiseCounts } from '../run/count-promises.js';
import type { PointSeries } from '../run/measure-curve.js';
import type { Machine } from './machine.js';

/** Quartiles of the rounds at one point. */
interface Point extends Quartiles {
  readonly x: number;
}

/** One quantity along a curve. */
export interface MeasureFigures extends Omit<Measure, 'name'> {
  readonly sides: Readonly<Record<Side, readonly Point[]>>;
  /** The library's as a multiple of hand-written's: the quartiles of the ratios of the rounds. */
  readonly ratio: readonly Point[];
  /**
   * What is added from the first point to the last one, the library's as a multiple of hand-written's: above 1
   * the library grows faster. `null` where nothing of either grows.
   */
  readonly growth: number | null;
}

/** What was measured along one curve. */
export interface CurveFigures {
  readonly curve: string;
  readonly title: string;
  readonly description: string;
  readonly x: Curve['x'];
  readonly measuredAt: string;
  readonly machine: Machine;
  /** Before and after: on a busy machine no time means much. */
  readonly load: { readonly before: number; readonly after: number };
  readonly rounds: number;
  readonly isQuick: boolean;
  readonly measures: readonly MeasureFigures[];
  /** Promises of a unit at each point, where they were counted. */
  readonly promises?: PromiseCounts;
  /** Medians of what was measured as well, and is not drawn. */
  readonly others: Readonly<Record<string, Readonly<Record<Side, readonly number[]>>>>;
}

export function measureFigures(measure: Measure, series: readonly PointSeries[]): MeasureFigures {
  const { name, ...rest } = measure;
  const valuesAt = ({ rounds }: PointSeries, side: Side): number[] =>
    rounds[side].map((figures) => figures[name]!);
  const pointsOf = (side: Side): Point[] =>
    series.map((point) => ({ x: point.x, ...quartilesOf(valuesAt(point, side)) }));
  const sides = { library: pointsOf('library'), 'hand-written': pointsOf('hand-written') };
  const ratio = series.map((point) => {
    const base = valuesAt(point, 'hand-written');
    const perRound = valuesAt(point, 'library').map((value, round) => value / base[round]!);
    return { x: point.x, ...quartilesOf(perRound) };
  });
  return { ...rest, sides, ratio, growth: growthOf(sides) };
}

/** A growth that is less than this part of the last value is none. */
const FLAT = 0.05;

function growthOf(sides: MeasureFigures['sides']): number | null {
  const added = (side: Side): number => sides[side].at(-1)!.median - sides[side][0]!.median;
  const last = sides['hand-written'].at(-1)!.median;
  const [library, handWritten] = [added('library'), added('hand-written')];
  return handWritten < last * FLAT ? null : library / handWritten;
}

/** Medians of the figures that are no measure of the curve. */
export function otherFigures(
  { measures }: Curve,
  series: readonly PointSeries[],
): CurveFigures['others'] {
  const drawn = new Set(measures.map(({ name }) => name));
  const names = Object.keys(series[0]?.rounds[SIDES[0]][0] ?? {}).filter(
    (name) => !drawn.has(name),
  );
  const mediansOf = (name: string, side: Side): number[] =>
    series.map(({ rounds }) => quartilesOf(rounds[side].map((each) => each[name]!)).median);
  return Object.fromEntries(
    names.map((name) => [
      name,
      { library: mediansOf(name, 'library'), 'hand-written': mediansOf(name, 'hand-written') },
    ]),
  );
}
