import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Client } from 'pg';

import {
  endRunner,
  fixtureOf,
  jestWatching,
  runFiles,
  startRunner,
  TEST_RUNNERS,
  type TestRun,
} from '../support/test-runners.js';
import { waitFor } from '../support/wait-for.js';

const TIMED_OUT = /timed out after 200ms|Test timed out in 200ms|Exceeded timeout of 200 ms/;

/** Longest time of a run, on a machine that is busy with others. */
const LIMIT_MS = 120_000;
const CHANGED_AGAIN_MS = 5_000;

/** The sample suites; those of Jest are of the run that this spec is part of. */
const SAMPLES = {
  Jest: [],
  Vitest: ['orders', 'concurrent'].map((suite) => `sample/04-testing/vitest/${suite}.test.ts`),
  'node:test': ['orders', 'concurrent'].map(
    (suite) => `sample/04-testing/node-test/${suite}.test.ts`,
  ),
};

describe.each(['Jest', 'Vitest', 'node:test'] as const)('the testing kit in %s', (name) => {
  const runner = TEST_RUNNERS[name];
  const template = `runners_${runner.suffix}_${process.pid}`;
  let server: Client;
  let directory: string;
  let variables: Record<string, string>;
  let run: TestRun;

  beforeAll(async () => {
    server = new Client({ connectionString: process.env['DB_CONTEXT_TEST_URL']! });
    await server.connect();
    directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-runners-'));
    variables = {
      RUNNERS_TEMPLATE: template,
      RUNNERS_VERSION_FILE: join(directory, 'version.mjs'),
      RUNNERS_REPORT: join(directory, 'report'),
    };
    await change('1');
    const fixtures = ['killed', 'misbehaving', ...(name === 'Vitest' ? ['watched'] : [])];
    const files = fixtures.map((fixture) => fixtureOf(runner, fixture));
    run = await runFiles(runner, [...files, ...SAMPLES[name]], directory, variables);
  }, LIMIT_MS);
  afterAll(async () => {
    for (const each of await databases('_')) {
      await server.query(`drop database "${each}" with (force)`);
    }
    await server.end();
    await rm(directory, { recursive: true, force: true });
  });

  /** The databases of this runner of a kind, `_worker_` for example. */
  async function databases(kind: string): Promise<string[]> {
    const { rows } = await server.query<{ datname: string }>(
      'select datname from pg_database where starts_with(datname, $1) order by 1',
      [`${template}${kind}`],
    );
    return rows.map(({ datname }) => datname);
  }

  const change = (version: string): Promise<void> =>
    writeFile(variables['RUNNERS_VERSION_FILE']!, `export const version = '${version}';\n`);

  /** What the runs of the watched file have written. */
  async function reported(): Promise<{ readonly pid: number }[]> {
    const written = await readFile(variables['RUNNERS_REPORT']!, 'utf8').catch(() => '');
    const lines = written.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as { pid: number });
  }

  const testOf = (title: string): object => {
    const found = run.tests.find((each) => each.title === title);
    return found ?? { missing: title, output: run.output };
  };
  const firstMessageOf = (title: string): string =>
    run.tests.find((each) => each.title === title)?.failureMessages[0] ?? run.output;

  if (SAMPLES[name].length > 0) {
    it('passes the suites of the sample', () => {
      for (const title of [
        'sells the only radio, in one test',
        'sells the only radio, and again in the next one',
        'takes no payment for an order of yesterday',
        'sells ada@example.com a radio, and takes a payment for it',
        'sells grace@example.com a radio, and takes a payment for it',
        'works off a job, whose token says which test it belongs to',
        'sells nothing to a stranger',
      ]) {
        expect(testOf(title)).toMatchObject({ status: 'passed' });
      }
    });
  }

  it('T1: rolls a failed test back, which fails with its own words', () => {
    expect(firstMessageOf('fails')).toMatch(/^(Error: )?the words of the test/);
    expect(testOf('after a failure')).toMatchObject({ status: 'passed' });
  });

  it.each(['times out', 'times out in a statement', 'times out in a request'])(
    'T1: rolls a test back that %s, and the next one is unharmed',
    (title) => {
      expect(firstMessageOf(title)).toMatch(TIMED_OUT);
      expect(testOf(title.replace('times out', 'after a timeout'))).toMatchObject({
        status: 'passed',
      });
    },
  );

  it('fails where a worker is killed, and runs the other files', () => {
    expect(run).toMatchObject({ code: 1 });
    expect(run.tests.filter(({ status }) => status === 'passed').length).toBeGreaterThanOrEqual(4);
  });

  it('leaves one database at most, which the next file of the worker replaces', async () => {
    // That of the killed worker was the first of this name.
    expect((await databases('_worker_')).length).toBeLessThanOrEqual(1);
  });

  // Each run of `node --test --watch` is a process of its own.
  if (name !== 'node:test') {
    it(
      'T1: runs a file again in watch mode, on a new template after a change',
      async () => {
        // Vitest has done so already.
        if (name === 'Jest') {
          await watchJest();
        }
        const [first, second] = await reported();
        expect(first).toMatchObject({ version: '1', passed: ['first', 'second'] });
        expect(second).toMatchObject({ version: '2', passed: ['first', 'second'] });
        if (name === 'Jest') {
          expect(second!.pid).toBe(first!.pid);
        }
      },
      LIMIT_MS,
    );
  }

  async function watchJest(): Promise<void> {
    const watching = startRunner(jestWatching(fixtureOf(runner, 'watched')), variables);
    const runs = async (): Promise<number> => (await reported()).length;
    const timeoutMs = LIMIT_MS / 2;
    let changedAt = -Infinity;
    try {
      await waitFor(async () => (await runs()) === 1, { what: 'the first run', timeoutMs });
      await waitFor(
        async () => {
          // Jest drops a change that it is told of while it still ends a run, which has reported by then.
          if (performance.now() - changedAt > CHANGED_AGAIN_MS) {
            changedAt = performance.now();
            await change('2');
          }
          return (await runs()) > 1;
        },
        { what: 'the second run', timeoutMs },
      );
    } finally {
      await endRunner(watching);
    }
  }
});
