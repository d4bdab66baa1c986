import { inspect } from 'node:util';

import { ADAPTERS, type Candidate } from '../candidates.js';
import { startFleet } from '../http/fleet.js';
import { countPromises } from '../http/promises.js';
import { countWire } from '../http/wire-counts.js';
import { startLink } from '../link/link.js';
import { measureMemory } from '../measure.js';
import { isFor, WORKLOADS } from '../workloads.js';
import { differencesOf, excessesOf, promisesThatDiffer } from './differences.js';
import {
  EXPECTED_COUNTS,
  EXPECTED_PROMISES,
  MOST_BYTES,
  OPEN_CONTEXTS,
  type CountsByWorkload,
  type RequestCounts,
  WAITING,
  WAITING_AT_BEGIN,
} from './expected-counts.js';
import { countWaiting } from './waiting.js';

/** The ways to have the library whose counts are kept. */
const COUNTED: readonly Candidate[] = ['library', 'first-write', 'middleware'];

/**
 * Counts what requests of the library cost, and prints it.
 *
 * @returns where it is not what `expected-counts.ts` says, a line each
 */
export async function checkCounts(databaseUrl: string): Promise<readonly string[]> {
  const counted = await countRequests(databaseUrl);
  const memory = await measureMemory({ contexts: OPEN_CONTEXTS }, databaseUrl);
  const waiting = await countWaiting('library');
  const bytes = {
    ...Object.fromEntries(memory.map(({ name, bytesEach }) => [name, bytesEach])),
    [WAITING]: waiting.bytes,
    [WAITING_AT_BEGIN]: waiting.bytesAtBegin,
  };
  const promises = { [WAITING]: waiting.promises };
  // What it is to be compared with, which nothing is expected of.
  const handWritten = await countWaiting('hand-written');
  console.log(inspect({ counted, promises, bytes, handWritten }, { depth: null }));
  return [
    ...differencesOf(EXPECTED_COUNTS, counted),
    ...promisesThatDiffer(EXPECTED_PROMISES, promises),
    ...excessesOf(MOST_BYTES, bytes),
  ];
}

async function countRequests(databaseUrl: string): Promise<CountsByWorkload> {
  const link = await startLink(databaseUrl);
  const fleet = await startFleet(COUNTED, ADAPTERS[0], link.url);
  try {
    const counted: Partial<Record<Candidate, Record<string, RequestCounts>>> = {};
    for (const candidate of COUNTED) {
      const requests: Record<string, RequestCounts> = {};
      counted[candidate] = requests;
      // The others ask for nothing that these do not.
      for (const workload of WORKLOADS.filter(({ isOverLinks }) => isOverLinks)) {
        if (isFor(candidate, workload)) {
          const wire = await countWire(fleet, link, candidate, workload);
          const promises = await countPromises(fleet, candidate, workload);
          requests[workload.name] = { ...wire, promises };
        }
      }
    }
    return counted;
  } finally {
    await fleet.stop();
    await link.stop();
  }
}
