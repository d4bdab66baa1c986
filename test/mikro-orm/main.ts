/**
 * Runs MikroORM's own tests for PostgreSQL twice, plain and with `orm.em` as the session of a context, and
 * compares them: `npm run test:mikro-orm -- --sources ../mikro-orm`, with `-- --sources ... upsert` the
 * files whose path contains that. See README.md. Ends with 1 where a difference is not listed in
 * differences.ts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Cluster } from '../../sample/starter/cluster.js';
import { compare, print } from './compare.js';
import { readResults, type Results } from './results.js';
import { prepareWorkspace, testFiles } from './workspace.js';

/** `plain`: without the library. `flush`: a context that commits as plain MikroORM does. `body`: once. */
type Mode = 'plain' | 'flush' | 'body';

const { values, positionals } = parseArgs({
  options: {
    sources: { type: 'string' },
    workspace: { type: 'string', default: join(tmpdir(), 'nestjs-db-context-mikro-orm') },
    workers: { type: 'string', default: '2' },
    body: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
if (values.sources === undefined) {
  console.error(
    'Say where a checkout of MikroORM is: npm run test:mikro-orm -- --sources ../mikro-orm',
  );
  process.exit(2);
}

// For the clean-up, which is left to the event 'exit'.
process.once('SIGINT', () => process.exit(1));
process.once('SIGTERM', () => process.exit(1));

const workspace = resolve(values.workspace);
prepareWorkspace(resolve(values.sources), workspace);
const files = testFiles(workspace, positionals);
const cluster = await Cluster.start({ standbys: 0, settings: ['max_connections=300'] });
try {
  const plain = await run('plain');
  const comparison = compare(plain, await run(values.body ? 'body' : 'flush'));
  print(comparison);
  process.exitCode = comparison.differences.some(({ reason }) => reason === undefined) ? 1 : 0;
} finally {
  await cluster.stop();
}

async function run(mode: Mode): Promise<Results> {
  const { port, username, password } = new URL(cluster.primaryUrl);
  const report = join(workspace, `${mode}.json`);
  const vitest = spawn(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      '--root',
      workspace,
      '--config',
      fileURLToPath(new URL('vitest.config.mjs', import.meta.url)),
      '--reporter=json',
      `--outputFile=${report}`,
      ...files,
    ],
    {
      cwd: workspace,
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        ...process.env,
        MIKRO_ORM_PORT: port,
        MIKRO_ORM_USER: username,
        MIKRO_ORM_PASSWORD: password,
        MIKRO_ORM_TESTS_WORKSPACE: workspace,
        MIKRO_ORM_TESTS_WORKERS: values.workers,
        MIKRO_ORM_TESTS_MODE: mode,
      },
    },
  );
  const stop = (): void => void vitest.kill();
  process.once('exit', stop);
  // It ends with 1 as soon as one test fails, as some do plain: they need other databases.
  await once(vitest, 'exit');
  process.off('exit', stop);
  return readResults(report, workspace);
}
