import type { CallFigures, MemoryFigures } from '../calls/figures.js';
import type { MachineryFigures } from '../machinery/machinery.js';
import type { HotFunction } from './profile.js';
import type { Comparison, Counts } from './results.js';
import type { Quartiles, Spread } from './statistics.js';

/** A table in Markdown. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]!.length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

const ratio = ({ median, p10, p90 }: Spread): string =>
  `${median.toFixed(2)} (${p10.toFixed(2)}-${p90.toFixed(2)})`;

const nanoseconds = (spread: Spread | undefined): string =>
  spread === undefined
    ? ''
    : `${spread.median.toFixed(0)} (${spread.p10.toFixed(0)}-${spread.p90.toFixed(0)})`;

/** Throughput of each candidate, and that of the library against it. */
export function throughputTable(comparisons: readonly Comparison[]): string {
  return table(
    ['workload', 'candidate', 'requests/s', 'p99 ms', 'server CPU, us', 'library / it'],
    comparisons.flatMap(({ workload, candidates }) =>
      candidates.map(({ candidate, perSecond, p99Ms, cpuUs, throughputRatio }) => [
        workload,
        candidate,
        perSecond.median.toFixed(0),
        p99Ms.median.toFixed(1),
        cpuUs.median.toFixed(0),
        throughputRatio === undefined ? '' : ratio(throughputRatio),
      ]),
    ),
  );
}

/** Latency of each candidate, and that of the library against it. */
export function latencyTable(comparisons: readonly Comparison[]): string {
  return table(
    ['workload', 'candidate', 'median ms', 'library / it'],
    comparisons.flatMap(({ workload, candidates }) =>
      candidates.map(({ candidate, medianMs, latencyRatio }) => [
        workload,
        candidate,
        medianMs.median.toFixed(2),
        latencyRatio === undefined ? '' : ratio(latencyRatio),
      ]),
    ),
  );
}

/** Round trips of each workload, a column for each candidate. */
export function countsTable(counts: readonly Counts[]): string {
  const candidates = [...new Set(counts.flatMap(({ counted }) => Object.keys(counted)))];
  return table(
    ['workload', ...candidates],
    counts.map(({ workload, counted }) => [
      workload,
      ...candidates.map((candidate) => {
        const count = (counted as Readonly<Record<string, number>>)[candidate];
        return count === undefined ? '' : String(count);
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
