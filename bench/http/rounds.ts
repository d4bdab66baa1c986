import type { Candidate } from '../candidates.js';
import { isFor, type Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';
import { load, type LoadLength, type LoadResult } from './load.js';

/** How long it is measured. */
export interface Rounds {
  readonly rounds: number;
  /** Of one candidate in one round. */
  readonly length: LoadLength;
  /** Before the first round, for each candidate. */
  readonly warmUp: LoadLength;
}

/** What one candidate did in one round. */
interface RoundResult extends LoadResult {
  /** CPU time of the server for each answer, in microseconds. */
  readonly cpuUs: number;
}

/** What each candidate did in each round. */
export type Series = ReadonlyMap<Candidate, readonly RoundResult[]>;

/**
 * Lets the candidates do the same in turn, round after round. The one that begins changes, so that
 * whatever else the machine does meets all of them alike.
 *
 * @param clients how many ask at the same time; by default those of the workload
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
