import { splitRounds } from '../../split-rounds.js';
import type { Curve } from '../curve.js';
import { countPromises, type PromiseCounts } from './count-promises.js';
import { measureCurve, type Plan, type PointSeries } from './measure-curve.js';
import { openCurve } from './open-subjects.js';

/** How long a curve is measured, and how often by fresh processes. */
interface BatchPlan extends Omit<Plan, 'first'> {
  /** How many pairs of processes the rounds are split over. */
  readonly batches: number;
}

/** What was found along a curve. */
interface MeasuredCurve {
  readonly series: readonly PointSeries[];
  readonly promises?: PromiseCounts;
}

/**
 * Measures a curve with several pairs of processes, one pair after another: two processes with the same code differ for
 * their whole life, by the order in which V8 happened to compile it.
 */
export async function measureBatches(
  curve: Curve,
  databaseUrl: string,
  plan: BatchPlan,
): Promise<MeasuredCurve> {
  const batches: (readonly PointSeries[])[] = [];
  let promises: PromiseCounts | undefined;
  for (const part of splitRounds(plan)) {
    const opened = await openCurve(curve, databaseUrl);
    const { subjects, beforePoint } = opened;
    try {
      batches.push(await measureCurve(curve, subjects, { ...plan, ...part }, beforePoint));
      if (curve.isCounted === true) {
        // Every process makes as many: the first pair is enough.
        promises ??= await countPromises(subjects, plan.points);
      }
    } finally {
      await opened.stop();
    }
  }
  return { series: joinPoints(batches), ...(promises === undefined ? {} : { promises }) };
}

/** The rounds of all batches at each point, one batch after another. */
function joinPoints([first = [], ...others]: readonly (readonly PointSeries[])[]): PointSeries[] {
  return first.map(({ x, rounds }, index) => {
    const all = [rounds, ...others.map((series) => series[index]!.rounds)];
    return {
      x,
      rounds: {
        library: all.flatMap(({ library }) => library),
        'hand-written': all.flatMap((each) => each['hand-written']),
      },
    };
  });
}
