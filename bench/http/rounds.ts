import type { Candidate } from '../candidates.js';
import { isFor, type Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';
import { load, type LoadLength, type LoadResult } from './load.js';

/** How long the candidates are measured. */
export interface Rounds {
  readonly rounds: number;
  /** The length of one candidate's load in one round. */
  readonly length: LoadLength;
  /** The length of each candidate's load before the first round. */
  readonly warmUp: LoadLength;
}

/** The result of one candidate in one round. */
interface RoundResult extends LoadResult {
  /** CPU time of the server for each answer, in microseconds. */
  readonly cpuUs: number;
}

/** The results of each candidate in each round. */
export type Series = ReadonlyMap<Candidate, readonly RoundResult[]>;

/**
 * Runs the same load on one candidate after another, round after round. Another candidate begins each
 * round, so that other work of the machine disturbs all of them alike.
 *
 * @param clients number of concurrent clients; by default that of the workload
 */
export async function runRounds(
  fleet: Fleet,
  workload: Workload,
  { rounds, length, warmUp }: Rounds,
  clients: number = workload.clients,
): Promise<Series> {
  const candidates = fleet.candidates.filter((candidate) => isFor(candidate, workload));
  const series = new Map<Candidate, RoundResult[]>();
  for (const candidate of candidates) {
    series.set(candidate, []);
    await load(fleet.urlOf(candidate), workload, warmUp, clients);
  }
  for (let round = 0; round < rounds; round++) {
    for (let step = 0; step < candidates.length; step++) {
      const candidate = candidates[(round + step) % candidates.length]!;
      const startedUs = await cpuTimeUs(fleet, candidate);
      const result = await load(fleet.urlOf(candidate), workload, length, clients);
      const cpuUs = ((await cpuTimeUs(fleet, candidate)) - startedUs) / result.answers;
      series.get(candidate)!.push({ ...result, cpuUs });
    }
  }
  return series;
}

async function cpuTimeUs(fleet: Fleet, candidate: Candidate): Promise<number> {
  const answer = await fleet.server(candidate).ask('cpu-time');
  return (answer as { readonly cpuTimeUs: number }).cpuTimeUs;
}
