import type { Results } from '../report/results.js';
import { summaryTable } from '../report/summary-table.js';
import {
  callsTable,
  countsTable,
  latencyTable,
  machineryTable,
  memoryTable,
  packagesTable,
  throughputTable,
} from '../report/tables.js';

/** The tables that a block may ask for, by the part of the results that they show. */
const TABLES: Readonly<Record<string, (results: Results) => string>> = {
  summary: summaryTable,
  'round-trips': ({ roundTrips }) => countsTable(roundTrips),
  promises: ({ promises }) => countsTable(promises),
  memory: ({ memory }) => memoryTable(memory),
  calls: ({ calls }) => callsTable(calls),
  machinery: ({ machinery }) => machineryTable(machinery),
  packages: ({ packages }) => packagesTable(packages),
  throughput: ({ throughput }) => throughputTable(throughput),
  observed: ({ observed }) => throughputTable(observed),
  latency: ({ latency }) => latencyTable(latency),
};

/**
 * The table of a block, and under it when, on what and by which script it was measured.
 *
 * @param name of the block: a file of docs/figures without its suffix, a slash, and the table, as in
 *   `counts/round-trips`
 * @param resultsOf what such a file holds, as `npm run bench -- --json` writes it
 */
export function figuresOf(name: string, resultsOf: (file: string) => Results): string {
  const [file = '', part = ''] = name.split('/');
  const table = TABLES[part];
  if (table === undefined) {
    throw new Error(
      `figures:${name}: there is no table "${part}", but ${Object.keys(TABLES).join(', ')}`,
    );
  }
  const results = resultsOf(file);
  const text = table(results);
  if (text.split('\n').length < 3) {
    throw new Error(`figures:${name}: docs/figures/${file}.json has nothing of it`);
  }
  return `${text}\n\n${measuredBy(results, file)}`;
}

function measuredBy(
  { startedAt, node, cpuModel, cpus, loadAverage, asked }: Results,
  file: string,
): string {
  const command = ['npm run bench --', asked, `--json docs/figures/${file}.json`]
    .filter((part) => part !== '')
    .join(' ');
  return (
    `Measured on ${startedAt.slice(0, 10)} with Node ${node.replace(/^v/, '')} on ${cpus} cores ` +
    `(${cpuModel}, load before ${loadAverage[0]!.toFixed(2)}) by ` +
    `[bench/main.ts](../bench/main.ts): \`${command}\``
  );
}
