import type { Candidate } from '../candidates.js';
import { attempt, isFailure, type Failure } from '../report/failure.js';
import { isFor, type Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';
import { load, type LoadLength, type LoadResult } from './load.js';

/** How long the candidates are measured. */
export interface Rounds {
  readonly rounds: number;
  /**
   * The number of the first round: which candidate begins a round goes by its number.
   *
   * @defaultValue 0
   */
  readonly first?: number;
  /** The length of one candidate's load in one round. */
  readonly length: LoadLength;
}

/** The result of one candidate in one round. */
export interface RoundResult extends LoadResult {
  /** CPU time of the server for each answer, in microseconds. */
  readonly cpuUs: number;
}

/** The results of each candidate in each round, or why it has none. */
export type Series = ReadonlyMap<Candidate, readonly RoundResult[] | Failure>;

/**
 * Runs the same load on one candidate after another, round after round. Another candidate begins each
 * round, so that other work of the machine disturbs all of them alike. A candidate that fails takes part in
 * no further round.
 *
 * @param clients number of concurrent clients; by default that of the workload
 */
export async function runRounds(
  fleet: Fleet,
  workload: Workload,
  { rounds, first = 0, length }: Rounds,
  clients: number = workload.clients,
): Promise<Series> {
  const candidates = fleet.candidates.filter((candidate) => isFor(candidate, workload));
  const results = new Map<Candidate, RoundResult[]>();
  const failures = new Map<Candidate, Failure>();
  const run = async (candidate: Candidate): Promise<void> => {
    if (failures.has(candidate)) {
      return;
    }
    const result = await attempt(() => runOnce(fleet, candidate, workload, length, clients));
    if (isFailure(result)) {
      failures.set(candidate, result);
    } else {
      results.get(candidate)?.push(result);
    }
  };
  for (const candidate of candidates) {
    results.set(candidate, []);
  }
  for (let round = first; round < first + rounds; round++) {
    for (let step = 0; step < candidates.length; step++) {
      await run(candidates[(round + step) % candidates.length]!);
    }
  }
  return new Map<Candidate, readonly RoundResult[] | Failure>([...results, ...failures]);
}

async function runOnce(
  fleet: Fleet,
  candidate: Candidate,
  workload: Workload,
  length: LoadLength,
  clients: number,
): Promise<RoundResult> {
  let startedUs = 0;
  const result = await load(fleet.urlOf(candidate), workload, length, {
    clients,
    onConnected: async () => {
      startedUs = await cpuTimeUs(fleet, candidate);
    },
  });
  const cpuUs = ((await cpuTimeUs(fleet, candidate)) - startedUs) / result.answers;
  return { ...result, cpuUs };
}

/** CPU time that the server of a candidate has taken so far, in microseconds. */
export async function cpuTimeUs(fleet: Fleet, candidate: Candidate): Promise<number> {
  const answer = await fleet.server(candidate).ask('cpu-time');
  return (answer as { readonly cpuTimeUs: number }).cpuTimeUs;
}
