import type { Candidate } from '../candidates.js';
import { attempt } from '../report/failure.js';
import type { Workload } from '../workloads.js';
import type { Fleet } from './fleet.js';
import { load, type LoadLength } from './load.js';

/** Whether a candidate is asked for a workload. */
export type IsAsked = (candidate: Candidate, workload: Workload) => boolean;

/**
 * Requests without the database are the fastest, and with every candidate a second of them is more than enough,
 * where the servers answer others as well.
 */
const SECONDS_WITHOUT_DATABASE = 1;

/**
 * Lets each server of a fleet serve all workloads before any of them is measured. V8 optimises the code of a server for
 * its first 15,000 requests or so, and takes the more time for it the more code there is; a server in production
 * is past that. What fails here fails again where it is measured, and its row says so.
 *
 * @param length for each server, in all, where it is a time; for each workload where it is a number of answers
 */
export async function warmUp(
  fleet: Fleet,
  workloads: readonly Workload[],
  length: LoadLength,
  isAsked: IsAsked,
): Promise<void> {
  for (const workload of workloads) {
    const share = shareOf(workload, workloads, length);
    for (const candidate of fleet.candidates.filter((each) => isAsked(each, workload))) {
      await attempt(() => load(fleet.urlOf(candidate), workload, share));
    }
  }
}

/**
 * The part of a warm-up that one of the workloads gets: the same for all servers, so that they are equally warm. One that
 * is not asked for all workloads is warmed up for less time in all.
 */
export function shareOf(
  { usesDatabase }: Workload,
  workloads: readonly Workload[],
  length: LoadLength,
): LoadLength {
  if (!('seconds' in length)) {
    return length;
  }
  const withDatabase = workloads.filter((each) => each.usesDatabase).length;
  const without = workloads.length - withDatabase;
  if (withDatabase === 0) {
    return { seconds: length.seconds / without };
  }
  return {
    seconds: usesDatabase
      ? (length.seconds - without * SECONDS_WITHOUT_DATABASE) / withDatabase
      : SECONDS_WITHOUT_DATABASE,
  };
}
