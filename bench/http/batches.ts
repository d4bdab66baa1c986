import type { Candidate } from '../candidates.js';
import { isFailure, type Failure } from '../report/failure.js';
import type { Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';
import type { LoadLength } from './load.js';
import { runRounds, type RoundResult, type Rounds, type Series } from './rounds.js';
import { splitRounds } from '../split-rounds.js';
import { warmUp, type IsAsked } from './warm-up.js';

/** How long the candidates are measured, and how often by fresh processes. */
export interface BatchPlan extends Rounds {
  /** How many fleets the rounds are split over; at most as many as there are rounds. */
  readonly batches: number;
  /** The load of each server before it is measured, see {@link warmUp}. */
  readonly warmUp: LoadLength;
}

/** What is measured in each batch. */
interface Batched {
  readonly start: () => Promise<Fleet>;
  readonly workloads: readonly Workload[];
  readonly isAsked: IsAsked;
  /** Is called at the end of each batch. */
  readonly onBatch?: (batch: number, batches: number) => void;
}

/**
 * Splits the rounds of all workloads over several fleets, one after another, each of which is warmed up first. Two
 * processes with the same code differ for their whole life, by the order in which V8 happened to compile it: with one
 * process for each candidate that would be a difference between the candidates.
 *
 * @returns the results of each workload; a candidate that failed in one batch has failed
 */
export async function runBatches(
  { start, workloads, isAsked, onBatch }: Batched,
  plan: BatchPlan,
): Promise<ReadonlyMap<Workload, Series>> {
  const parts = splitRounds(plan);
  const all = new Map(workloads.map((workload) => [workload, [] as Series[]]));
  for (const [index, part] of parts.entries()) {
    const fleet = await start();
    try {
      await warmUp(fleet, workloads, plan.warmUp, isAsked);
      for (const workload of workloads) {
        const candidates = fleet.candidates.filter((each) => isAsked(each, workload));
        const series = await runRounds({ ...fleet, candidates }, workload, { ...plan, ...part });
        all.get(workload)!.push(series);
      }
    } finally {
      await fleet.stop();
    }
    onBatch?.(index + 1, parts.length);
  }
  return new Map([...all].map(([workload, series]) => [workload, joinSeries(series)]));
}

/** All rounds of the batches, one batch after another. */
function joinSeries(batches: readonly Series[]): Series {
  const joined = new Map<Candidate, readonly RoundResult[] | Failure>();
  for (const [candidate, results] of batches.flatMap((series) => [...series])) {
    const before = joined.get(candidate) ?? [];
    if (!isFailure(before)) {
      joined.set(candidate, isFailure(results) ? results : [...before, ...results]);
    }
  }
  return joined;
}
