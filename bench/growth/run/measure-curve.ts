import { SIDES, type Curve, type Figures, type Side, type Subject } from '../curve.js';

/** How long it is measured. */
export interface Plan {
  readonly rounds: number;
  /** The number of the first round: which side begins a round goes by its number. */
  readonly first: number;
  /** The time that one measurement fills with units. */
  readonly blockMs: number;
  /** Of each side, before its first measurement. */
  readonly warmUpMs: number;
  readonly points: readonly number[];
}

/** The figures of each side at one point, round after round. */
export interface PointSeries {
  readonly x: number;
  readonly rounds: Readonly<Record<Side, readonly Figures[]>>;
}

type Subjects = Readonly<Record<Side, Subject>>;

const MOST_UNITS = 5_000;

/**
 * Measures both sides at all points of a curve. They take turns, and another one begins each round, so that
 * what else the machine does disturbs both alike.
 *
 * @param beforePoint what is to be done before the measurements at a point
 */
export async function measureCurve(
  curve: Curve,
  subjects: Subjects,
  plan: Plan,
  beforePoint: (x: number) => Promise<void>,
): Promise<readonly PointSeries[]> {
  if (curve.isSweep === true) {
    return takeTurns(subjects, plan.points, 1, plan);
  }
  const series: PointSeries[] = [];
  for (const x of plan.points) {
    await beforePoint(x);
    const warmUpMs = x === plan.points[0] ? plan.warmUpMs : plan.blockMs;
    const units = await unitsAt(curve, subjects, x, plan.blockMs);
    for (const side of SIDES) {
      await warmUp(subjects[side], x, units, warmUpMs);
    }
    series.push(...(await takeTurns(subjects, [x], units, plan)));
  }
  return series;
}

/** The number of units of one measurement, the same for both sides. */
async function unitsAt(
  curve: Curve,
  subjects: Subjects,
  x: number,
  blockMs: number,
): Promise<number> {
  if (curve.units !== undefined) {
    return curve.units(x);
  }
  // The first unit opens connections and runs code for the first time.
  await Promise.all(SIDES.map((side) => subjects[side].measure([x], 1)));
  const [figures] = await subjects[SIDES[0]].measure([x], 2);
  return Math.min(MOST_UNITS, Math.max(1, Math.ceil(blockMs / figures!['wallMs']!)));
}

async function warmUp(subject: Subject, x: number, units: number, ms: number): Promise<void> {
  const startedMs = performance.now();
  while (performance.now() - startedMs < ms) {
    await subject.measure([x], units);
  }
}

async function takeTurns(
  subjects: Subjects,
  points: readonly number[],
  units: number,
  { first, rounds }: Plan,
): Promise<readonly PointSeries[]> {
  const series = points.map((x) => ({
    x,
    rounds: { library: [] as Figures[], 'hand-written': [] as Figures[] },
  }));
  for (let round = first; round < first + rounds; round++) {
    for (const side of round % 2 === 0 ? SIDES : SIDES.toReversed()) {
      const figures = await subjects[side].measure(points, units);
      figures.forEach((each, index) => series[index]!.rounds[side].push(each));
    }
  }
  return series;
}
