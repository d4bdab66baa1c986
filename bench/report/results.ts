import type { CallFigures, MemoryFigures } from '../calls/figures.js';
import type { Adapter, Candidate } from '../candidates.js';
import type { Series } from '../http/rounds.js';
import type { MachineryFigures } from '../machinery/machinery.js';
import type { PackageTimes } from '../machinery/package-times.js';
import type { Workload } from '../workloads.js';
import { isFailure, type Failure } from './failure.js';
import type { Measurement } from './measurement.js';
import { ratioOf, spreadOf, type Spread } from './statistics.js';

interface FailedCandidate extends Failure {
  readonly candidate: Candidate;
}

/** The figures of one candidate at one workload. */
export interface CandidateFigures {
  readonly candidate: Candidate;
  readonly perSecond: Spread;
  readonly medianMs: Spread;
  readonly p99Ms: Spread;
  /** CPU time of the server for each answer, in microseconds. */
  readonly cpuUs: Spread;
  /** The library's requests per second, as a multiple of this one's. */
  readonly throughputRatio?: Spread;
  /** The library's latency, as a multiple of this one's. */
  readonly latencyRatio?: Spread;
}

/** All candidates at one workload. */
export interface Comparison {
  readonly workload: string;
  readonly adapter: Adapter;
  /** The time that the link adds to a round trip. */
  readonly roundTripMs: number;
  readonly clients: number;
  readonly candidates: readonly (CandidateFigures | FailedCandidate)[];
}

/** Counts per request of one workload, by candidate. */
export interface Counts {
  readonly workload: string;
  readonly counted: Readonly<Partial<Record<Candidate, number | Failure>>>;
}

/** Everything that a run has measured. */
export interface Results extends Measurement {
  readonly throughput: Comparison[];
  /** One read, with somebody listening and without. */
  readonly observed: Comparison[];
  readonly latency: Comparison[];
  readonly roundTrips: Counts[];
  readonly statements: Counts[];
  readonly promises: Counts[];
  readonly machinery: MachineryFigures[];
  readonly packages: PackageTimes[];
  calls: readonly CallFigures[];
  memory: readonly MemoryFigures[];
  /** What could not be measured, and why; the same is said in its row. */
  readonly failures: string[];
}

/** What a run has measured as it begins. */
export function emptyResults(measurement: Measurement): Results {
  return {
    ...measurement,
    throughput: [],
    observed: [],
    latency: [],
    roundTrips: [],
    statements: [],
    promises: [],
    machinery: [],
    packages: [],
    calls: [],
    memory: [],
    failures: [],
  };
}

/** Sums up the rounds of one workload. */
export function compare(
  series: Series,
  { title }: Workload,
  where: Pick<Comparison, 'adapter' | 'roundTripMs' | 'clients'>,
): Comparison {
  const first = series.get('library');
  const library = isFailure(first) ? undefined : first;
  const candidates = [...series].map(([candidate, results]): CandidateFigures | FailedCandidate => {
    if (isFailure(results)) {
      return { candidate, failure: results.failure };
    }
    const rates = results.map(({ perSecond }) => perSecond);
    const latencies = results.map(({ medianMs }) => medianMs);
    const figures = {
      candidate,
      perSecond: spreadOf(rates),
      medianMs: spreadOf(latencies),
      p99Ms: spreadOf(results.map(({ p99Ms }) => p99Ms)),
      cpuUs: spreadOf(results.map(({ cpuUs }) => cpuUs)),
    };
    if (candidate === 'library' || library === undefined) {
      return figures;
    }
    return {
      ...figures,
      throughputRatio: ratioOf(
        library.map(({ perSecond }) => perSecond),
        rates,
      ),
      latencyRatio: ratioOf(
        library.map(({ medianMs }) => medianMs),
        latencies,
      ),
    };
  });
  return { workload: title, ...where, candidates };
}

/** All that could not be measured, a line each. */
export function failuresOf(results: Results): readonly string[] {
  const compared = [...results.throughput, ...results.observed, ...results.latency].flatMap(
    ({ workload, adapter, candidates }) =>
      candidates
        .filter((figures) => isFailure(figures))
        .map(({ candidate, failure }) => `${workload}, ${adapter}, ${candidate}: ${failure}`),
  );
  const counted = [...results.roundTrips, ...results.statements, ...results.promises].flatMap(
    ({ workload, counted: counts }) =>
      Object.entries(counts).flatMap(([candidate, count]) =>
        isFailure(count) ? [`${workload}, ${candidate}: ${count.failure}`] : [],
      ),
  );
  return [...new Set([...compared, ...counted, ...results.failures])];
}
