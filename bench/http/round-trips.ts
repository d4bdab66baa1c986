import type { Candidate } from '../candidates.js';
import type { Link } from '../link/link.js';
import { isFor, urlOf, type Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';

const REQUESTS = 20;

/** Round trips of one request, as counted on the link, one request after another. */
export async function countRoundTrips(
  fleet: Fleet,
  link: Link,
  workload: Workload,
): Promise<ReadonlyMap<Candidate, number>> {
  const counts = new Map<Candidate, number>();
  for (const candidate of fleet.candidates.filter((each) => isFor(each, workload))) {
    const ask = async (): Promise<void> => {
      const { method } = workload;
      const response = await fetch(urlOf(fleet.urlOf(candidate), workload), { method });
      await response.arrayBuffer();
      if (!response.ok) {
        throw new Error(`${candidate}, ${workload.name}: status ${response.status}`);
      }
    };
    // Opens the connection, whose log-in does not count.
    await ask();
    await link.countRoundTrips();
    for (let request = 0; request < REQUESTS; request++) {
      await ask();
    }
    counts.set(candidate, (await link.countRoundTrips()) / REQUESTS);
  }
  return counts;
}
