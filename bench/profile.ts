import type { Profiler } from 'node:inspector';

import type { Candidate } from './candidates.js';
import { startFleet, type Fleet } from './http/fleet.js';
import { load } from './http/load.js';
import type { BenchOptions } from './options.js';
import { printProfile } from './report/print-profile.js';
import type { Workload } from './workloads.js';

const WARM_UP = { seconds: 3 };
const RECORDED = { seconds: 8 };

/** Prints a CPU profile of a server while clients send requests of one workload. */
export async function profileWorkload(
  { adapters, candidates, profileFile }: BenchOptions,
  workload: Workload,
  databaseUrl: string,
): Promise<void> {
  const [adapter, candidate] = [adapters[0]!, candidates[0]!];
  const fleet = await startFleet([candidate], adapter, databaseUrl);
  let recorded: Profiler.Profile;
  try {
    recorded = await record(fleet, candidate, workload);
  } finally {
    await fleet.stop();
  }
  await printProfile(`${workload.title}, ${candidate}, ${adapter}`, recorded, profileFile);
}

async function record(
  fleet: Fleet,
  candidate: Candidate,
  workload: Workload,
): Promise<Profiler.Profile> {
  const url = fleet.urlOf(candidate);
  const server = fleet.server(candidate);
  await load(url, workload, WARM_UP);
  await server.ask('start-profile');
  await load(url, workload, RECORDED);
  const answer = (await server.ask('stop-profile')) as { readonly profile: Profiler.Profile };
  return answer.profile;
}
