import { SIDES, type Side, type Subject } from '../curve.js';

/** The promises of a unit of each side, at each point. */
export type PromiseCounts = Readonly<Record<Side, readonly number[]>>;

/** @param subjects both of which can count */
export async function countPromises(
  subjects: Readonly<Record<Side, Subject>>,
  points: readonly number[],
): Promise<PromiseCounts> {
  const counts: Record<Side, number[]> = { library: [], 'hand-written': [] };
  for (const side of SIDES) {
    for (const x of points) {
      counts[side].push(await subjects[side].countPromises!(x));
    }
  }
  return counts;
}
