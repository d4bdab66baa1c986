/**
 * Compares the library with other ways to have a transaction per request: `npm run bench [-- --rounds
 * 9 --seconds 1 --json figures.json]`; all options are in `options.ts`. One machine, one run; the
 * candidates alternate.
 *
 * What runs where: the load generator here; each application, the link and PostgreSQL in processes
 * of their own.
 */
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg } from 'node:os';

import { Client } from 'pg';

import { startLocalPostgres } from '../sample/starter/local-postgres.js';
import { ACCOUNT_SCHEMA } from './app/account.entity.js';
import {
  measureCalls,
  measureLinks,
  measureMemory,
  measureObserved,
  measurePromises,
  measureThroughput,
} from './measure.js';
import { measureMachinery } from './machinery/machinery.js';
import { profileMachinery } from './machinery/profile-machinery.js';
import { readOptions } from './options.js';
import { profileWorkload } from './profile.js';
import type { Results } from './report/results.js';
import {
  callsTable,
  latencyTable,
  memoryTable,
  countsTable,
  machineryTable,
  throughputTable,
} from './report/tables.js';

const options = readOptions();
const isWithoutServer = options.parts.every((part) => part === 'machinery');
if (isWithoutServer) {
  await run('');
} else {
  const postgres = startLocalPostgres(['bench']);
  try {
    const databaseUrl = (await postgres.urls).bench;
    const client = new Client({ connectionString: databaseUrl });
    await client.connect();
    await client.query(ACCOUNT_SCHEMA);
    await client.end();
    await run(databaseUrl);
  } finally {
    await postgres.stop();
  }
}

async function run(databaseUrl: string): Promise<void> {
  if (options.profile === undefined) {
    await measureAll(databaseUrl);
  } else if (isWithoutServer) {
    await profileMachinery(options, options.profile);
  } else {
    await profileWorkload(options, options.profile, databaseUrl);
  }
}

async function measureAll(databaseUrl: string): Promise<void> {
  const { parts, adapters, json } = options;
  const results: Results = {
    node: process.version,
    cpuModel: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: availableParallelism(),
    startedAt: new Date().toISOString(),
    asked: askedWithout('--json'),
    loadAverage: loadavg(),
    throughput: [],
    observed: [],
    latency: [],
    roundTrips: [],
    promises: [],
    machinery: [],
    calls: [],
    memory: [],
  };
  const [load] = results.loadAverage;
  console.log(`Node ${results.node}, ${results.cpus} cores, load before: ${load!.toFixed(2)}`);
  if (parts.includes('machinery')) {
    const { candidates, workloads, blockPlan } = options;
    await measureMachinery(candidates, workloads, blockPlan, (each) =>
      results.machinery.push(each),
    );
    print('JavaScript alone, for each request', machineryTable(results.machinery));
  }
  if (parts.includes('memory')) {
    results.memory = await measureMemory(options, databaseUrl);
    print(`Memory, ${options.contexts} at the same time`, memoryTable(results.memory));
  }
  if (parts.includes('calls')) {
    results.calls = await measureCalls(options, databaseUrl);
    print('Single calls', callsTable(results.calls));
  }
  if (parts.includes('throughput')) {
    for (const adapter of adapters) {
      await measureThroughput(options, adapter, databaseUrl, (each) => {
        results.throughput.push(each);
        print(`Throughput, ${adapter}, ${each.clients} clients`, throughputTable([each]));
      });
    }
  }
  if (parts.includes('observed')) {
    await measureObserved(options, databaseUrl, (each) => {
      results.observed.push(each);
      print('Throughput with somebody listening', throughputTable([each]));
    });
  }
  if (parts.includes('promises')) {
    await measurePromises(options, databaseUrl, (each) => results.promises.push(each));
    print('Promises for each request', countsTable(results.promises));
  }
  if (parts.includes('trips') || parts.includes('latency')) {
    await measureLinks(
      options,
      databaseUrl,
      (each) => results.roundTrips.push(each),
      (each) => {
        results.latency.push(each);
        print(`Latency, link of ${each.roundTripMs} ms, one client`, latencyTable([each]));
      },
    );
    print('Round trips at the wire', countsTable(results.roundTrips));
  }
  if (json !== undefined) {
    await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
  }
}

/** The options of this run, but for one with its value. */
function askedWithout(option: string): string {
  const args = process.argv.slice(2);
  const index = args.indexOf(option);
  return (index === -1 ? args : args.toSpliced(index, 2)).join(' ');
}

function print(title: string, text: string): void {
  console.log(`\n${title}\n\n${text}`);
}
