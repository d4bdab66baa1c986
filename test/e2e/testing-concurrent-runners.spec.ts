import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Client } from 'pg';

import { fixtureOf, runFiles, TEST_RUNNERS, type TestRun } from '../support/test-runners.js';

/** Longest time of a run, on a machine that is busy with others. */
const LIMIT_MS = 120_000;

/** Runs in which some tests fail on purpose, and what all of them must show. */
describe.each(['Jest', 'Vitest', 'node:test'] as const)('T1: concurrent tests in %s', (name) => {
  const runner = TEST_RUNNERS[name];
  const template = `concurrent_${runner.suffix}_${process.pid}`;
  let server: Client;
  let directory: string;
  let run: TestRun;

  beforeAll(async () => {
    server = new Client({ connectionString: process.env['DB_CONTEXT_TEST_URL']! });
    await server.connect();
    directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-concurrent-'));
    const fixtures = ['concurrent', 'concurrent-only'].map((each) => fixtureOf(runner, each));
    // Without that flag node:test pays no heed to only().
    const flags = name === 'node:test' ? ['--test-only'] : [];
    run = await runFiles(runner, [...flags, ...fixtures], directory, {
      RUNNERS_TEMPLATE: template,
    });
  }, LIMIT_MS);
  afterAll(async () => {
    const { rows } = await server.query<{ datname: string }>(
      'select datname from pg_database where starts_with(datname, $1)',
      [template],
    );
    for (const { datname } of rows) {
      await server.query(`drop database "${datname}" with (force)`);
    }
    await server.end();
    await rm(directory, { recursive: true, force: true });
  });

  /** What became of each test, and all that may say why. */
  const statusesOf = ({ tests, output }: TestRun): Record<string, unknown> => ({
    ...Object.fromEntries(tests.map(({ title, status }) => [title, status])),
    why: [output, ...tests.flatMap(({ failureMessages }) => failureMessages)],
  });

  it('two blocks at once know their own tests, and variants are those of the runner', () => {
    const passes = [
      ...['orders', 'customers'].flatMap((block) =>
        [1, 2].map((n) => `meets those of the other block (${block} ${n})`),
      ),
      'gets what the runner hands over',
      'sees that the one that timed out has ended',
      ...(name === 'node:test'
        ? []
        : ['writes 1 a', 'writes 2 b', 'writes c alone', 'writes d alone', 'has run for each row']),
    ];
    expect(statusesOf(run)).toMatchObject({
      ...Object.fromEntries(passes.map((title) => [title, 'passed'])),
      'times out by an option': 'failed',
      'times out by a number': 'failed',
    });
  });

  it('runs the test of only() alone in its file', () => {
    expect(statusesOf(run)).toMatchObject({ 'is the only one': 'passed' });
    expect(statusesOf(run)['left out by only']).not.toBe('failed');
  });

  it('fails by the words of the runner, or by those of the kit where it knows no timeout', () => {
    for (const title of ['times out by an option', 'times out by a number']) {
      const message = run.tests.find((each) => each.title === title)?.failureMessages[0];
      expect(message).toMatch(
        /timed out (in 1000ms|after 1000ms)|Exceeded timeout of 1000 ms|was not over after 1000 ms/,
      );
    }
  });
});
