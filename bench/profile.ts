import type { Profiler } from 'node:inspector';

import type { Candidate } from './candidates.js';
import { startFleet, type Fleet } from './http/fleet.js';
import { load } from './http/load.js';
import { cpuTimeUs } from './http/rounds.js';
import { warmUp } from './http/warm-up.js';
import type { BenchOptions } from './options.js';
import { printProfile } from './report/print-profile.js';
import { isFor, type Workload } from './workloads.js';

const RECORDED = { seconds: 8 };

/** Prints a CPU profile of a server while clients send requests of one workload. */
export async function profileWorkload(
  { adapters, candidates, profileFile, rounds }: BenchOptions,
  workload: Workload,
  databaseUrl: string,
): Promise<void> {
  const [adapter, candidate] = [adapters[0]!, candidates[0]!];
  const fleet = await startFleet([candidate], adapter, databaseUrl);
  let recorded: Recorded;
  try {
    await warmUp(fleet, [workload], rounds.warmUp, isFor);
    recorded = await record(fleet, candidate, workload);
  } finally {
    await fleet.stop();
  }
  const { profile, cpuUs } = recorded;
  await printProfile(`${workload.title}, ${candidate}, ${adapter}`, profile, profileFile, cpuUs);
}

interface Recorded {
  readonly profile: Profiler.Profile;
  /** CPU time of the server for each answer, in microseconds; the recorder takes a part of it. */
  readonly cpuUs: number;
}

async function record(fleet: Fleet, candidate: Candidate, workload: Workload): Promise<Recorded> {
  const url = fleet.urlOf(candidate);
  const server = fleet.server(candidate);
  const startedUs = await cpuTimeUs(fleet, candidate);
  await server.ask('start-profile');
  const { answers } = await load(url, workload, RECORDED);
  const { profile } = (await server.ask('stop-profile')) as { readonly profile: Profiler.Profile };
  return { profile, cpuUs: ((await cpuTimeUs(fleet, candidate)) - startedUs) / answers };
}
