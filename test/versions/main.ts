/**
 * Installs the packed library into small applications, one for each combination of versions that it is to
 * work with, and proves a handful of its promises in each: `npm run test:versions`, with `-- --quick` in
 * the few that CI has the time for. Needs `dist` and the npm registry. Prints one line for each
 * combination, and ends with exit code 1 when one has failed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { endRun } from '../support/end-run.js';
import { pack } from '../support/pack.js';
import { Application } from './application.js';
import { COMBINATIONS, type Combination } from './combinations.js';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false } } });
const combinations = COMBINATIONS.filter(({ isQuick }) => !values.quick || isQuick === true);

const summary = { passed: 0, failed: 0 };
const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-versions-'));
const postgres = startLocalPostgres(combinations.map((_, index) => `versions_${index}`));
try {
  const tarball = await pack(directory);
  const urls = await postgres.urls;
  // Two at a time, as that is what most of it, npm and the compiler, can use of a small machine.
  const queue = [...combinations.entries()];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [index, combination] = next;
      await prove(index, combination, tarball, urls[`versions_${index}`]!);
    }
  };
  await Promise.all([worker(), worker()]);
} finally {
  await postgres.stop();
  await rm(directory, { recursive: true, force: true });
}
await endRun(summary);

async function prove(
  index: number,
  combination: Combination,
  tarball: string,
  databaseUrl: string,
): Promise<void> {
  const startedAt = performance.now();
  const seconds = (): string => ((performance.now() - startedAt) / 1_000).toFixed(1);
  const application = new Application(join(directory, String(index)), combination);
  try {
    await application.install(tarball);
    await application.compile();
    const findings = await application.prove(databaseUrl);
    const broken = findings.filter(({ failure }) => failure !== undefined);
    const kept = findings.length - broken.length;
    summary.passed += kept;
    summary.failed += broken.length;
    console.log(
      `${broken.length === 0 ? 'ok  ' : 'FAIL'} ${await application.describe()}: ` +
        `${kept} of ${findings.length} promises (${seconds()} s)`,
    );
    broken.forEach(({ title, failure }) => console.log(`     ${title}\n${failure}`));
  } catch (error) {
    summary.failed += 1;
    console.log(`FAIL ${JSON.stringify(combination)} (${seconds()} s)\n${String(error)}`);
  }
}
