import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';

/** One test that was run. */
export interface TestRun {
  /** The spec, from the top of the repository. */
  readonly spec: string;
  /** The titles of what it lies in, and its own. */
  readonly fullName: string;
  readonly title: string;
  readonly hasPassed: boolean;
}

/** What has come of a run of Jest. */
export type JestRun =
  | { readonly tag: 'ran'; readonly tests: readonly TestRun[] }
  /** A spec could not be loaded. */
  | { readonly tag: 'not-loaded'; readonly message: string }
  /** It did not end within the limit. */
  | { readonly tag: 'hung' };

/** Which tests are to be run. */
export interface TestChoice {
  readonly specs: readonly string[];
  readonly test?: string | undefined;
}

/** What Jest writes with `--json`, as far as it is read here. */
interface JestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly title: string;
      readonly status: string;
    }[];
  }[];
}

/**
 * Runs Jest in a copy of the repository.
 *
 * @param limitMs how long it may take
 */
export async function runJest(
  directory: string,
  { specs, test }: TestChoice,
  limitMs: number,
): Promise<JestRun> {
  const report = join(directory, 'jest-report.json');
  rmSync(report, { force: true });
  const jest = spawn(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      'node_modules/jest/bin/jest.js',
      '--coverage=false',
      '--runInBand',
      '--silent',
      '--json',
      `--outputFile=${report}`,
      // A line that is broken may leave timers and sockets behind.
      '--forceExit',
      '--testPathPatterns',
      ...specs,
      ...(test === undefined ? [] : ['--testNamePattern', test]),
    ],
    // A process group of its own, so that what the specs have started ends with it.
    { cwd: directory, detached: true, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  jest.stderr.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString()}`.slice(-4_000);
  });
  const end = (): void => {
    if (jest.pid !== undefined && jest.exitCode === null && jest.signalCode === null) {
      process.kill(-jest.pid, 'SIGKILL');
    }
  };
  let hasHung = false;
  const timer = setTimeout(() => {
    hasHung = true;
    end();
  }, limitMs);
  process.once('exit', end);
  try {
    await once(jest, 'close');
  } finally {
    clearTimeout(timer);
    process.off('exit', end);
  }
  if (hasHung) {
    return { tag: 'hung' };
  }
  return existsSync(report)
    ? judged(JSON.parse(readFileSync(report, 'utf8')) as JestReport, directory)
    : { tag: 'not-loaded', message: said };
}

function judged({ testResults }: JestReport, directory: string): JestRun {
  const notLoaded = testResults.find(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  );
  if (notLoaded !== undefined) {
    return { tag: 'not-loaded', message: notLoaded.message };
  }
  const tests = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => status === 'passed' || status === 'failed')
      .map(({ fullName, title, status }) => ({
        spec: relative(directory, name),
        fullName,
        title,
        hasPassed: status === 'passed',
      })),
  );
  return { tag: 'ran', tests };
}
