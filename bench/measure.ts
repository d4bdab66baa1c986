import { ADAPTERS, type Candidate } from './candidates.js';
import type { CallFigures, MemoryFigures } from './calls/figures.js';
import { startChild } from './http/child.js';
import { startFleet, type Fleet } from './http/fleet.js';
import { countPromises } from './http/promises.js';
import { runRounds } from './http/rounds.js';
import { warmUp } from './http/warm-up.js';
import { countWire } from './http/wire-counts.js';
import { startLink, type Link, type WireCounts } from './link/link.js';
import type { BenchOptions } from './options.js';
import { attempt, isFailure, type Failure } from './report/failure.js';
import { compare, type Comparison, type Counts } from './report/results.js';
import { isFor, type Workload } from './workloads.js';

/** Counts the promises of a request. */
export async function measurePromises(
  { candidates, isCheck, workloads }: BenchOptions,
  databaseUrl: string,
  onEach: (counts: Counts) => void,
): Promise<void> {
  const [adapter] = ADAPTERS;
  // In a check, the throughput has shown already that all candidates run.
  const chosen = isCheck ? candidates.slice(0, 1) : candidates;
  const fleet = await startFleet(chosen, adapter, databaseUrl);
  try {
    for (const workload of workloads.filter(({ isOverLinks }) => isOverLinks)) {
      const counted: CountsOf<number> = {};
      for (const candidate of chosen.filter((each) => isFor(each, workload))) {
        counted[candidate] = await attempt(() => countPromises(fleet, candidate, workload));
      }
      onEach({ workload: workload.title, counted });
    }
  } finally {
    await fleet.stop();
  }
}

/** Where {@link measureLinks} puts its figures. */
interface LinkFigures {
  readonly onTrips: (roundTrips: Counts) => void;
  readonly onStatements: (statements: Counts) => void;
  readonly onLatency: (comparison: Comparison) => void;
}

/**
 * Counts round trips to the database server and statements, and measures latency on links of several
 * lengths.
 */
export async function measureLinks(
  options: BenchOptions,
  databaseUrl: string,
  { onTrips, onStatements, onLatency }: LinkFigures,
): Promise<void> {
  // One adapter is enough: the way to the database is the same with each.
  const [adapter] = ADAPTERS;
  const link = await startLink(databaseUrl);
  const withDatabase = options.candidates.filter(
    (each) => !['no-database', 'bare-interceptor', 'bare-middleware'].includes(each),
  );
  // In a check, the throughput has shown already that all candidates run.
  const candidates = options.isCheck ? withDatabase.slice(0, 1) : withDatabase;
  const fleet = await startFleet(candidates, adapter, link.url);
  try {
    const workloads = options.workloads.filter(({ isOverLinks }) => isOverLinks);
    if (options.parts.includes('trips')) {
      for (const workload of workloads) {
        const counted = await countAll(fleet, link, workload);
        onTrips({ workload: workload.title, counted: pick(counted, 'roundTrips') });
        onStatements({ workload: workload.title, counted: pick(counted, 'statements') });
      }
    }
    if (options.parts.includes('latency')) {
      const measured = workloads.filter(({ usesDatabase }) => usesDatabase);
      // One client behind a link sends too few requests for V8 to optimise anything.
      await link.setLength(0);
      await warmUp(fleet, measured, options.rounds.warmUp, isFor);
      for (const roundTripMs of options.linksMs) {
        await link.setLength(roundTripMs);
        for (const workload of measured) {
          const series = await runRounds(fleet, workload, options.rounds, 1);
          onLatency(compare(series, workload, { adapter, roundTripMs, clients: 1 }));
        }
      }
    }
  } finally {
    await fleet.stop();
    await link.stop();
  }
}

type CountsOf<T> = Partial<Record<Candidate, T | Failure>>;

async function countAll(
  fleet: Fleet,
  link: Link,
  workload: Workload,
): Promise<CountsOf<WireCounts>> {
  const counted: CountsOf<WireCounts> = {};
  for (const candidate of fleet.candidates.filter((each) => isFor(each, workload))) {
    counted[candidate] = await attempt(() => countWire(fleet, link, candidate, workload));
  }
  return counted;
}

function pick(counted: CountsOf<WireCounts>, name: keyof WireCounts): CountsOf<number> {
  return Object.fromEntries(
    Object.entries(counted).map(([candidate, counts]) => [
      candidate,
      isFailure(counts) ? counts : counts[name],
    ]),
  );
}

export async function measureCalls(
  { callRounds }: BenchOptions,
  databaseUrl: string,
): Promise<readonly CallFigures[]> {
  const file = new URL('calls/single-calls.js', import.meta.url);
  const child = await startChild(file, [databaseUrl, String(callRounds)], ['--expose-gc']);
  return child.hello as readonly CallFigures[];
}

export async function measureMemory(
  { contexts }: Pick<BenchOptions, 'contexts'>,
  databaseUrl: string,
): Promise<readonly MemoryFigures[]> {
  const file = new URL('calls/memory.js', import.meta.url);
  const child = await startChild(file, [databaseUrl, String(contexts)], ['--expose-gc']);
  return child.hello as readonly MemoryFigures[];
}
