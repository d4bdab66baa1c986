import { measureLinks, measurePromises } from './measure.js';
import type { BenchOptions } from './options.js';
import type { Results } from './report/results.js';
import { say } from './report/say.js';
import { SUMMARY_NOTE, summaryTable } from './report/summary-table.js';
import { measureThroughput } from './throughput.js';

/** Measures what most readers ask for, says meanwhile how far it is, and prints it as one table. */
export async function measureSummary(
  options: BenchOptions,
  databaseUrl: string,
  results: Results,
): Promise<void> {
  for (const adapter of options.adapters) {
    await measureThroughput(options, adapter, databaseUrl, (each) => results.throughput.push(each));
  }
  await measurePromises(options, databaseUrl, (each) => results.promises.push(each));
  say('promises');
  await measureLinks(options, databaseUrl, {
    onTrips: (each) => results.roundTrips.push(each),
    onStatements: (each) => results.statements.push(each),
    onLatency: (each) => {
      results.latency.push(each);
      say(`latency over ${each.roundTripMs} ms: ${each.workload}`);
    },
  });
  console.log(`\n${SUMMARY_NOTE}\n\n${summaryTable(results)}`);
}
