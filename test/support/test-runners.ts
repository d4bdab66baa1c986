import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FIXTURES = 'test/fixtures/runners';

/** What became of one test. */
export interface RunTest {
  readonly title: string;
  readonly status: string;
  readonly failureMessages: readonly string[];
}

/** What became of a run. */
export interface TestRun {
  readonly code: number | null;
  readonly tests: readonly RunTest[];
  /** What it has printed. */
  readonly output: string;
}

/** How a runner is called. */
interface TestRunner {
  /** The name of its fixtures: `killed.vitest.ts`. */
  readonly suffix: 'jest' | 'vitest' | 'node';
  /** Arguments of `node` for one run, which writes its results to a file. */
  readonly run: (files: readonly string[], resultFile: string) => readonly string[];
  readonly resultsOf: (written: string) => readonly RunTest[];
}

const JEST = [
  '--experimental-vm-modules',
  '--disable-warning=ExperimentalWarning',
  'node_modules/jest/bin/jest.js',
  '--config',
  `${FIXTURES}/jest.config.mjs`,
];

/** The reports of Jest and of Vitest have the same form. */
function testsOf(written: string): readonly RunTest[] {
  const { testResults } = JSON.parse(written) as {
    readonly testResults: readonly { readonly assertionResults: readonly RunTest[] }[];
  };
  return testResults.flatMap(({ assertionResults }) => assertionResults);
}

/** All of them run one file after another, in one worker. */
export const TEST_RUNNERS: Readonly<Record<'Jest' | 'Vitest' | 'node:test', TestRunner>> = {
  Jest: {
    suffix: 'jest',
    run: (files, resultFile) => [
      ...JEST,
      '--maxWorkers=1',
      '--json',
      '--outputFile',
      resultFile,
      '--runTestsByPath',
      ...files,
    ],
    resultsOf: testsOf,
  },
  Vitest: {
    suffix: 'vitest',
    run: (files, resultFile) => [`${FIXTURES}/vitest.run.mjs`, resultFile, ...files],
    resultsOf: testsOf,
  },
  'node:test': {
    suffix: 'node',
    run: (files, resultFile) => [
      '--import',
      './test/support/typescript.register.mjs',
      '--test',
      '--test-concurrency=1',
      `--test-reporter=./${FIXTURES}/node.reporter.mjs`,
      `--test-reporter-destination=${resultFile}`,
      ...files,
    ],
    resultsOf: (written) =>
      written
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as RunTest),
  },
};

/** Arguments of `node` for Jest in watch mode, with all of its runs in one process. */
export function jestWatching(file: string): readonly string[] {
  return [...JEST, '--runInBand', '--watchAll', '--runTestsByPath', file];
}

/** Starts a runner in a process group of its own, with the workers that it starts in turn. */
export function startRunner(
  args: readonly string[],
  variables: Readonly<Record<string, string>>,
): ChildProcess {
  // The runner that this is called in names its own worker there.
  const { JEST_WORKER_ID: _own, ...environment } = process.env;
  return spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...environment, ...variables },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Ends a runner and all of its workers. */
export async function endRunner(runner: ChildProcess): Promise<void> {
  const ended = once(runner, 'close');
  process.kill(-runner.pid!, 'SIGKILL');
  await ended;
}

/** Runs files to the end. */
export async function runFiles(
  { run, resultsOf }: TestRunner,
  files: readonly string[],
  directory: string,
  variables: Readonly<Record<string, string>>,
): Promise<TestRun> {
  const resultFile = join(directory, 'results');
  const runner = startRunner(run(files, resultFile), variables);
  const output = Promise.all([text(runner.stdout!), text(runner.stderr!)]);
  const [code] = (await once(runner, 'close')) as [number | null];
  const written = await readFile(resultFile, 'utf8').catch(() => undefined);
  return {
    code,
    tests: written === undefined ? [] : resultsOf(written),
    output: (await output).join('\n'),
  };
}

/** The path of a fixture of a runner. */
export function fixtureOf({ suffix }: TestRunner, name: string): string {
  return `${FIXTURES}/${name}.${suffix}.ts`;
}
