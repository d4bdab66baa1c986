/**
 * Compares the library with other ways to have a transaction per request: `npm run bench`; `--help` says the
 * options. One machine, one run; the candidates alternate.
 *
 * What runs where: the load generator here; each application, the link and PostgreSQL in processes
 * of their own.
 */
import { writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';

import { Client } from 'pg';

import { LocalPostgresProcess } from '../sample/starter/local-postgres.process.js';
import { ACCOUNT_SCHEMA } from './app/account.entity.js';
import { checkCounts } from './counts/check-counts.js';
import { HELP } from './help.js';
import { profileMachinery } from './machinery/profile-machinery.js';
import { readOptions } from './options.js';
import { measureParts } from './parts.js';
import { profileWorkload } from './profile.js';
import { measurementNow } from './report/measurement.js';
import { emptyResults, failuresOf } from './report/results.js';
import { measureSummary } from './summary.js';

/** All candidates run at the same time, each with a pool of its own. */
const MAX_CONNECTIONS = 300;

const options = readOptions();
const isWithoutServer = options.parts.every((part) => ['machinery', 'packages'].includes(part));
let failures: readonly string[] = [];
if (options.form === 'help') {
  console.log(HELP);
} else if (isWithoutServer) {
  failures = await run('');
} else {
  const postgres = new LocalPostgresProcess({
    databases: ['bench'],
    settings: [`max_connections=${MAX_CONNECTIONS}`],
  });
  try {
    const databaseUrl = (await postgres.report).databases['bench']!;
    const client = new Client({ connectionString: databaseUrl });
    await client.connect();
    await client.query(ACCOUNT_SCHEMA);
    await client.end();
    failures = await run(databaseUrl);
  } finally {
    await postgres.stop();
  }
}
if (failures.length > 0) {
  console.error(`\n${failures.length} failed:\n${failures.join('\n')}`);
  process.exitCode = 1;
}

/** @returns what has failed, a line each */
async function run(databaseUrl: string): Promise<readonly string[]> {
  if (options.form === 'counts') {
    return checkCounts(databaseUrl);
  }
  if (options.profile === undefined) {
    return measureAll(databaseUrl);
  }
  if (isWithoutServer) {
    await profileMachinery(options, options.profile);
  } else {
    await profileWorkload(options, options.profile, databaseUrl);
  }
  return [];
}

async function measureAll(databaseUrl: string): Promise<readonly string[]> {
  const results = emptyResults(measurementNow());
  const [load] = results.loadAverage;
  console.log(`Node ${results.node}, ${results.cpus} cores, load before: ${load!.toFixed(2)}`);
  const measure = options.form === 'summary' ? measureSummary : measureParts;
  await measure(options, databaseUrl, results);
  // Where others keep the machine busy, the ratios are as far apart as their brackets say.
  console.log(`\nLoad after: ${loadavg()[0]!.toFixed(2)}`);
  if (options.json !== undefined) {
    await writeFile(options.json, `${JSON.stringify(results, undefined, 2)}\n`);
  }
  return failuresOf(results);
}
