import { titleOf, type Candidate } from '../candidates.js';
import { isFailure } from './failure.js';
import type { CandidateFigures, Comparison, Counts, Results } from './results.js';
import { failedCells, table } from './table.js';
import { ratio } from './tables.js';

/** What the columns of {@link summaryTable} mean. */
export const SUMMARY_NOTE = `One request that reads a row, one that reads and changes a row, and one that needs no database, in the same
Nest application over a pool of 10, with PostgreSQL on this machine.

requests/s    10 clients at once. "library / it" above 1: the library serves more.
ms            one client, over a link that adds 1 ms to each round trip. "library / it" below 1: the
              library answers sooner.
round trips, statements, promises    of one request, counted.

Medians of the rounds; a ratio is the median of those of the rounds, in brackets stand its 10th and 90th percentiles.`;

/** A cell, or why there is none. */
type Cells = readonly string[];

/** Throughput, latency and counts, a row for each workload and candidate. */
export function summaryTable(results: Results): string {
  const { throughput, latency, roundTrips, statements, promises } = results;
  const adapters = [...new Set(throughput.map(({ adapter }) => adapter))];
  const workloads = [...new Set(throughput.map(({ workload }) => workload))];
  const rows = workloads.flatMap((workload) => {
    const ofAdapters = adapters.map((adapter) =>
      throughput.find((each) => each.workload === workload && each.adapter === adapter),
    );
    const slow = latency.find((each) => each.workload === workload);
    const counts = [roundTrips, statements, promises].map((each) =>
      each.find((count) => count.workload === workload),
    );
    const candidates = ofAdapters[0]?.candidates.map(({ candidate }) => candidate) ?? [];
    return candidates.map((candidate, row) => [
      row === 0 ? workload : '',
      titleOf(candidate),
      ...ofAdapters.flatMap((comparison) => throughputCells(comparison, candidate)),
      ...latencyCells(slow, candidate),
      ...counts.map((count) => countCell(count, candidate)),
    ]);
  });
  return table(
    [
      'workload',
      'candidate',
      ...adapters.flatMap((adapter) => [`requests/s, ${adapter}`, 'library / it']),
      'ms over 1 ms',
      'library / it',
      'round trips',
      'statements',
      'promises',
    ],
    rows,
  );
}

function throughputCells(comparison: Comparison | undefined, candidate: Candidate): Cells {
  return cellsOf(comparison, candidate, ({ perSecond, throughputRatio }) => [
    perSecond.median.toFixed(0),
    throughputRatio === undefined ? '' : ratio(throughputRatio),
  ]);
}

function latencyCells(comparison: Comparison | undefined, candidate: Candidate): Cells {
  return cellsOf(comparison, candidate, ({ medianMs, latencyRatio }) => [
    medianMs.median.toFixed(2),
    latencyRatio === undefined ? '' : ratio(latencyRatio),
  ]);
}

function cellsOf(
  comparison: Comparison | undefined,
  candidate: Candidate,
  format: (figures: CandidateFigures) => Cells,
): Cells {
  const figures = comparison?.candidates.find((each) => each.candidate === candidate);
  if (figures === undefined) {
    return ['', ''];
  }
  return isFailure(figures) ? failedCells(figures.failure, 2) : format(figures);
}

function countCell(counts: Counts | undefined, candidate: Candidate): string {
  const count = counts?.counted[candidate];
  return isFailure(count) ? failedCells(count.failure, 1)[0]! : String(count ?? '');
}
