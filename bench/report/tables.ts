import type { CallFigures, MemoryFigures } from '../calls/figures.js';
import type { MachineryFigures } from '../machinery/machinery.js';
import type { PackageTimes } from '../machinery/package-times.js';
import { titleOf, type Candidate } from '../candidates.js';
import { isFailure } from './failure.js';
import type { HotFunction } from './profile.js';
import type { CandidateFigures, Comparison, Counts } from './results.js';
import type { Quartiles, Spread } from './statistics.js';
import { failedCells, table } from './table.js';

export const ratio = ({ median, p10, p90 }: Spread): string =>
  `${median.toFixed(2)} (${p10.toFixed(2)}-${p90.toFixed(2)})`;

const nanoseconds = (spread: Spread | undefined): string =>
  spread === undefined
    ? ''
    : `${spread.median.toFixed(0)} (${spread.p10.toFixed(0)}-${spread.p90.toFixed(0)})`;

/** Throughput of each candidate, and that of the library against it. */
export function throughputTable(comparisons: readonly Comparison[]): string {
  return comparisonTable(
    comparisons,
    ['requests/s', 'p99 ms', 'server CPU, us', 'library / it'],
    ({ perSecond, p99Ms, cpuUs, throughputRatio }) => [
      perSecond.median.toFixed(0),
      p99Ms.median.toFixed(1),
      cpuUs.median.toFixed(0),
      throughputRatio === undefined ? '' : ratio(throughputRatio),
    ],
  );
}

/** Latency of each candidate, and that of the library against it. */
export function latencyTable(comparisons: readonly Comparison[]): string {
  return comparisonTable(
    comparisons,
    ['median ms', 'library / it'],
    ({ medianMs, latencyRatio }) => [
      medianMs.median.toFixed(2),
      latencyRatio === undefined ? '' : ratio(latencyRatio),
    ],
  );
}

function comparisonTable(
  comparisons: readonly Comparison[],
  head: readonly string[],
  cellsOf: (figures: CandidateFigures) => readonly string[],
): string {
  return table(
    ['workload', 'candidate', ...head],
    comparisons.flatMap(({ workload, candidates }) =>
      candidates.map((figures) => [
        workload,
        titleOf(figures.candidate),
        ...(isFailure(figures) ? failedCells(figures.failure, head.length) : cellsOf(figures)),
      ]),
    ),
  );
}

/** Counts of each workload, a column for each candidate. */
export function countsTable(counts: readonly Counts[]): string {
  const candidates = [
    ...new Set(counts.flatMap(({ counted }) => Object.keys(counted) as Candidate[])),
  ];
  return table(
    ['workload', ...candidates.map(titleOf)],
    counts.map(({ workload, counted }) => [
      workload,
      ...candidates.map((candidate) => {
        const count = counted[candidate];
        return isFailure(count) ? failedCells(count.failure, 1)[0]! : String(count ?? '');
      }),
    ]),
  );
}

const quartiles = ({ median, lower, upper }: Quartiles, digits: number): string =>
  `${median.toFixed(digits)} (${lower.toFixed(digits)}-${upper.toFixed(digits)})`;

/** The CPU time of a request without a network, and its ratio to that of the baseline. */
export function machineryTable(figures: readonly MachineryFigures[]): string {
  return table(
    [
      'workload',
      'candidate',
      'CPU, us',
      'CPU / baseline',
      'all CPU / all',
      'least CPU, us',
      'least / baseline',
      'baseline',
    ],
    figures.flatMap(({ workload, baseline, rows }) =>
      rows.map(
        ({ candidate, isAgain, cpuUs, ratio: toBaseline, totalRatio, leastUs, leastRatio }) => [
          workload,
          isAgain ? `${candidate}, again` : candidate,
          quartiles(cpuUs, 1),
          quartiles(toBaseline, 3),
          totalRatio.toFixed(3),
          leastUs.toFixed(1),
          leastRatio.toFixed(3),
          baseline,
        ],
      ),
    ),
  );
}

export function callsTable(calls: readonly CallFigures[]): string {
  return table(
    ['call', 'here, ns', 'MikroORM alone, ns', 'more, ns'],
    calls.map(({ name, sessionNs, forkNs, moreNs }) => [
      name,
      nanoseconds(sessionNs),
      nanoseconds(forkNs),
      nanoseconds(moreNs),
    ]),
  );
}

export function memoryTable(memory: readonly MemoryFigures[]): string {
  return table(
    ['each of them', 'bytes'],
    memory.map(({ name, bytesEach }) => [name, bytesEach.toFixed(0)]),
  );
}

/** Of packages that take less in a request, the sum is told. */
const LEAST_US = 0.5;

function sumOf(
  byPackage: PackageTimes['byPackage'],
  names: readonly string[] = Object.keys(byPackage),
): number {
  return names.reduce((sum, name) => sum + (byPackage[name] ?? 0), 0);
}

/** What the JavaScript of a request goes into: a column for each candidate, a row for each package. */
export function packagesTable(times: readonly PackageTimes[]): string {
  const candidates = [...new Set(times.map(({ candidate }) => candidate))];
  const workloads = [...new Set(times.map(({ workload }) => workload))];
  const rows = workloads.flatMap((workload) => {
    const columns = candidates.map((candidate) =>
      times.find((each) => each.workload === workload && each.candidate === candidate),
    );
    const names = [...new Set(columns.flatMap((each) => Object.keys(each?.byPackage ?? {})))];
    const mostUs = (name: string): number =>
      Math.max(...columns.map((each) => each?.byPackage[name] ?? 0));
    const shown = names.filter((name) => mostUs(name) >= LEAST_US);
    const row = (title: string, us: (each: PackageTimes) => number): string[] => [
      workload,
      title,
      ...columns.map((each) => (each === undefined ? '' : us(each).toFixed(1))),
    ];
    return [
      row('all of it', ({ cpuUs }) => cpuUs),
      ...shown
        .toSorted((a, b) => mostUs(b) - mostUs(a))
        .map((name) => row(name, ({ byPackage }) => byPackage[name] ?? 0)),
      row('others', ({ byPackage }) => sumOf(byPackage) - sumOf(byPackage, shown)),
    ];
  });
  return table(['workload', 'us of CPU time in', ...candidates.map(titleOf)], rows);
}

/** @param eachUs CPU time of one request, in microseconds, where that is known */
export function profileTable(functions: readonly HotFunction[], eachUs?: number): string {
  return table(
    ['function', 'where', 'own time', ...(eachUs === undefined ? [] : ['us for each request'])],
    functions.map(({ name, where, share }) => [
      name,
      where,
      `${(share * 100).toFixed(1)} %`,
      ...(eachUs === undefined ? [] : [(share * eachUs).toFixed(2)]),
    ]),
  );
}
