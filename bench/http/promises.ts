import type { Candidate } from '../candidates.js';
import type { Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';
import { askOften } from './wire-counts.js';

const REQUESTS = 50;

/** Counts the promises that a server makes for one request, which no noise of the machine changes. */
export async function countPromises(
  fleet: Fleet,
  candidate: Candidate,
  workload: Workload,
): Promise<number> {
  const server = fleet.server(candidate);
  // Promises that are made only once, and the log-in of the first connection, do not count.
  await askOften(fleet, candidate, workload, REQUESTS);
  await server.ask('count-promises');
  await askOften(fleet, candidate, workload, REQUESTS);
  const { promises } = (await server.ask('promises')) as { readonly promises: number };
  return Math.round(promises / REQUESTS);
}
