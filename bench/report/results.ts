import type { CallFigures, MemoryFigures } from '../calls/figures.js';
import type { Adapter, Candidate } from '../candidates.js';
import type { Series } from '../http/rounds.js';
import type { MachineryFigures } from '../machinery/machinery.js';
import type { Workload } from '../workloads.js';
import { ratioOf, spreadOf, type Spread } from './statistics.js';

interface CandidateFigures {
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
  readonly candidates: readonly CandidateFigures[];
}

/** Counts per request of one workload, by candidate. */
export interface Counts {
  readonly workload: string;
  readonly counted: Readonly<Partial<Record<Candidate, number>>>;
}

/** Everything that a run has measured. */
export interface Results {
  readonly node: string;
  /** Model of the processor. */
  readonly cpuModel: string;
  readonly cpus: number;
  readonly startedAt: string;
  /** The options of `npm run bench` that it was started with, the place of its JSON left out. */
  readonly asked: string;
  readonly loadAverage: readonly number[];
  readonly throughput: Comparison[];
  /** One read, with somebody listening and without. */
  readonly observed: Comparison[];
  readonly latency: Comparison[];
  readonly roundTrips: Counts[];
  readonly promises: Counts[];
  readonly machinery: MachineryFigures[];
  calls: readonly CallFigures[];
  memory: readonly MemoryFigures[];
}

/** Sums up the rounds of one workload. */
export function compare(
  series: Series,
  { title }: Workload,
  where: Pick<Comparison, 'adapter' | 'roundTripMs' | 'clients'>,
): Comparison {
  const library = series.get('library');
  const candidates = [...series].map(([candidate, results]): CandidateFigures => {
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
