import { measureCalls, measureLinks, measureMemory, measurePromises } from './measure.js';
import { measureMachinery } from './machinery/machinery.js';
import { measurePackages } from './machinery/package-times.js';
import type { BenchOptions, Part } from './options.js';
import { attempt, isFailure } from './report/failure.js';
import type { Results } from './report/results.js';
import {
  callsTable,
  countsTable,
  latencyTable,
  machineryTable,
  memoryTable,
  packagesTable,
  throughputTable,
} from './report/tables.js';
import { measureObserved, measureThroughput } from './throughput.js';

/**
 * Measures the parts that are asked for, each by itself, and prints a table of each. A part that fails as a
 * whole says so where its table would be, and the others go on.
 */
export async function measureParts(
  options: BenchOptions,
  databaseUrl: string,
  results: Results,
): Promise<void> {
  const parts: readonly (readonly [Part, () => Promise<void>])[] = [
    ['machinery', () => machinery(options, results)],
    ['packages', () => packages(options, results)],
    ['memory', () => memory(options, databaseUrl, results)],
    ['calls', () => calls(options, databaseUrl, results)],
    ['throughput', () => throughput(options, databaseUrl, results)],
    ['observed', () => observed(options, databaseUrl, results)],
    ['promises', () => promises(options, databaseUrl, results)],
  ];
  for (const [part, measure] of parts.filter(([name]) => options.parts.includes(name))) {
    await measurePart(part, measure, results);
  }
  if (options.parts.includes('trips') || options.parts.includes('latency')) {
    await measurePart('links', () => links(options, databaseUrl, results), results);
  }
}

async function measurePart(
  name: string,
  measure: () => Promise<void>,
  results: Results,
): Promise<void> {
  const ended = await attempt(measure);
  if (isFailure(ended)) {
    results.failures.push(`${name}: ${ended.failure}`);
    print(name, `failed: ${ended.failure}`);
  }
}

async function machinery(options: BenchOptions, results: Results): Promise<void> {
  const { candidates, workloads, blockPlan } = options;
  await measureMachinery(candidates, workloads, blockPlan, (each) => results.machinery.push(each));
  print('JavaScript alone, for each request', machineryTable(results.machinery));
}

async function packages(options: BenchOptions, results: Results): Promise<void> {
  const { isCheck, workloads, packagePlan } = options;
  // In a check, the part before has shown already that all candidates run.
  const candidates = isCheck ? options.candidates.slice(0, 1) : options.candidates;
  await measurePackages(candidates, workloads, packagePlan, (each) => results.packages.push(each));
  print('JavaScript alone, by package', packagesTable(results.packages));
}

async function memory(options: BenchOptions, url: string, results: Results): Promise<void> {
  results.memory = await measureMemory(options, url);
  print(`Memory, ${options.contexts} at the same time`, memoryTable(results.memory));
}

async function calls(options: BenchOptions, url: string, results: Results): Promise<void> {
  results.calls = await measureCalls(options, url);
  print('Single calls', callsTable(results.calls));
}

async function throughput(options: BenchOptions, url: string, results: Results): Promise<void> {
  for (const adapter of options.adapters) {
    await measureThroughput(options, adapter, url, (each) => {
      results.throughput.push(each);
      print(`Throughput, ${adapter}, ${each.clients} clients`, throughputTable([each]));
    });
  }
}

async function observed(options: BenchOptions, url: string, results: Results): Promise<void> {
  await measureObserved(options, url, (each) => {
    results.observed.push(each);
    print('Throughput with somebody listening', throughputTable([each]));
  });
}

async function promises(options: BenchOptions, url: string, results: Results): Promise<void> {
  await measurePromises(options, url, (each) => results.promises.push(each));
  print('Promises for each request', countsTable(results.promises));
}

async function links(options: BenchOptions, url: string, results: Results): Promise<void> {
  await measureLinks(options, url, {
    onTrips: (each) => results.roundTrips.push(each),
    onStatements: (each) => results.statements.push(each),
    onLatency: (each) => {
      results.latency.push(each);
      print(`Latency, link of ${each.roundTripMs} ms, one client`, latencyTable([each]));
    },
  });
  if (options.parts.includes('trips')) {
    print('Round trips at the wire', countsTable(results.roundTrips));
    print('Statements at the server', countsTable(results.statements));
  }
}

function print(title: string, text: string): void {
  console.log(`\n${title}\n\n${text}`);
}
