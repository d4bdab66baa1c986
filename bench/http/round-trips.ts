import type { Candidate } from '../candidates.js';
import type { Link } from '../link/link.js';
import { isFor, urlOf, type Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';

const REQUESTS = 20;

/** Counts the round trips of one request on the link. */
export async function countRoundTrips(
  fleet: Fleet,
  link: Link,
  workload: Workload,
): Promise<ReadonlyMap<Candidate, number>> {
  const counts = new Map<Candidate, number>();
  for (const candidate of fleet.candidates.filter((each) => isFor(each, workload))) {
    // The first request opens the connection, whose log-in does not count.
    await askOften(fleet, candidate, workload, 1);
    await link.countRoundTrips();
    await askOften(fleet, candidate, workload, REQUESTS);
    counts.set(candidate, (await link.countRoundTrips()) / REQUESTS);
  }
  return counts;
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
    const response = await fetch(urlOf(fleet.urlOf(candidate), workload), { method });
    await response.arrayBuffer();
    if (!response.ok) {
      throw new Error(`${candidate}, ${name}: status ${response.status}`);
    }
  }
}
