/**
 * Runs the specs of test/e2e through PgBouncer in transaction mode: `npm run test:pgbouncer`, with
 * `-- --quick` a handful of them, with `-- test/e2e/foo` some, with `-- --all` also what is known not to
 * hold. Ends with the status of Jest, or with
 * 77 when there is no PgBouncer.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Cluster } from '../../sample/starter/cluster.js';
import { findPgBouncer, PgBouncer } from './pgbouncer.js';
import { EXCEPTIONS, EXCLUDED, QUICK } from './specs.js';

/** Known from other test runners: nothing failed, and nothing was tested. */
const SKIPPED = 77;

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, all: { type: 'boolean', default: false } },
  allowPositionals: true,
});

const binary = findPgBouncer();
if (binary === undefined) {
  console.log('pgbouncer is not installed, so nothing is tested: apt-get install pgbouncer');
  process.exit(SKIPPED);
}

// For the clean-up, which is left to the event 'exit'.
process.once('SIGINT', () => process.exit(1));
process.once('SIGTERM', () => process.exit(1));

const cluster = await Cluster.start({
  standbys: 0,
  settings: ['max_connections=300'],
});
let status = 1;
try {
  // Like the server, it refuses to run as root.
  const owner = await stat(join(cluster.directory, 'primary'));
  const pgbouncer = await PgBouncer.start(binary, cluster.primaryUrl, owner);
  try {
    status = await runJest(pgbouncer.address);
  } finally {
    const end = await pgbouncer.stop();
    if (end !== undefined) {
      console.error(`pgbouncer ended while the specs ran: ${end}`);
      status = 1;
    }
  }
} finally {
  await cluster.stop();
}
process.exitCode = status;

async function runJest(pooler: string): Promise<number> {
  const only = values.quick ? QUICK : positionals;
  const skipped = values.all
    ? []
    : EXCEPTIONS.map(({ test }) => test.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  const jest = spawn(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      'node_modules/jest/bin/jest.js',
      '--testPathPatterns',
      ...(only.length > 0 ? only : ['test/e2e', 'test/pgbouncer']),
      ...(values.all
        ? []
        : ['--testPathIgnorePatterns', '/dist/', ...EXCLUDED.map(({ file }) => file)]),
      ...(skipped.length > 0 ? ['--testNamePattern', `^(?!.*(${skipped.join('|')}))`] : []),
    ],
    {
      stdio: 'inherit',
      env: {
        ...process.env,
        DB_CONTEXT_TEST_URL: cluster.primaryUrl,
        DB_CONTEXT_TEST_POOLER: pooler,
      },
    },
  );
  process.once('exit', () => jest.kill());
  const [code] = (await once(jest, 'exit')) as [number | null];
  return code ?? 1;
}
