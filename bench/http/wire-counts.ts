import type { Candidate } from '../candidates.js';
import type { Link, WireCounts } from '../link/link.js';
import { pathOf, type Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';

const REQUESTS = 20;

/** Counts what one request of a candidate sends over the link. */
export async function countWire(
  fleet: Fleet,
  link: Link,
  candidate: Candidate,
  workload: Workload,
): Promise<WireCounts> {
  // The first request opens the connection, whose log-in does not count.
  await askOften(fleet, candidate, workload, 1);
  await link.count();
  await askOften(fleet, candidate, workload, REQUESTS);
  const { roundTrips, statements } = await link.count();
  return { roundTrips: roundTrips / REQUESTS, statements: statements / REQUESTS };
}

/** Sends requests one after another. */
export async function askOften(
  fleet: Fleet,
  candidate: Candidate,
  workload: Workload,
  times: number,
): Promise<void> {
  const { method, name } = workload;
  for (let request = 0; request < times; request++) {
    const response = await fetch(`${fleet.urlOf(candidate)}${pathOf(workload)}`, { method });
    await response.arrayBuffer();
    if (!response.ok) {
      throw new Error(`${candidate}, ${name}: status ${response.status}`);
    }
  }
}
