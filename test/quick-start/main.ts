/**
 * Follows docs/quick-start.md to the letter, from `nest new` on, and looks whether the row is in the database
 * that it promises: `npm run check:quick-start`. Needs `dist` and the npm registry. Two words of the page are
 * other ones here: the package is the one that was built, and the port is a free one. Prints a line for each
 * step, and ends with exit code 1 at the first that fails.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';

import { Client } from 'pg';

import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { endRun } from '../support/end-run.js';
import { pack } from '../support/pack.js';
import { stepsOf, type Step } from './page.js';
import { Reader } from './reader.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What can be read with care in ten minutes, code included. */
const MOST_WORDS = 1_000;

const summary = { passed: 0, failed: 0 };
const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-quick-start-'));
const postgres = startLocalPostgres(['quick_start']);
let reader: Reader | undefined;
try {
  const page = await readFile(join(ROOT, 'docs', 'quick-start.md'), 'utf8');
  await check('the page is read in ten minutes', async () => {
    const words = page.split(/\s+/).length;
    assertEqual(words <= MOST_WORDS, true, `${words} words`);
  });
  const [tarball, { quick_start: databaseUrl }, port] = await Promise.all([
    pack(directory),
    postgres.urls,
    freePort(),
  ]);
  reader = new Reader(directory, {
    ...process.env,
    DATABASE_URL: databaseUrl,
    PORT: String(port),
    npm_config_prefer_offline: 'true',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
  });
  for (const step of stepsOf(page)) {
    await follow(reader, step, { tarball, port });
  }
  await check('the row is in the database, and that of the failed request is not', async () =>
    assertEqual(await rowsOf(databaseUrl), [{ id: 1, text: 'first' }], 'rows of note'),
  );
} catch (error) {
  summary.failed += 1;
  console.error(error);
} finally {
  await reader?.leave();
  await postgres.stop();
  await rm(directory, { recursive: true, force: true });
}
await endRun(summary);

async function follow(
  by: Reader,
  step: Step,
  { tarball, port }: { readonly tarball: string; readonly port: number },
): Promise<void> {
  if (step.kind === 'file') {
    await check(`wrote ${step.path}`, () => by.write(step.path, step.text));
    return;
  }
  const command = step.text
    .replace(' nestjs-db-context ', ` ${tarball} `)
    .replace('localhost:3000', `localhost:${port}`);
  await check(step.text, async () => {
    if (step.text === 'npm start') {
      await by.start(command, `http://localhost:${port}/`);
      return;
    }
    const output = await by.type(command);
    if (step.answer !== undefined) {
      assertEqual(JSON.parse(output), JSON.parse(step.answer), step.text);
    }
  });
}

async function check(title: string, work: () => Promise<void>): Promise<void> {
  const startedAt = performance.now();
  await work();
  summary.passed += 1;
  console.log(`ok   ${title} (${((performance.now() - startedAt) / 1_000).toFixed(1)} s)`);
}

function assertEqual(actual: unknown, expected: unknown, what: string): void {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(
      `${what}: ${JSON.stringify(actual)} where the page has ${JSON.stringify(expected)}`,
    );
  }
}

async function rowsOf(connectionString: string): Promise<unknown> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    return (await client.query('select id, text from note order by id')).rows;
  } finally {
    await client.end();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
