import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** The part of vitest's JSON report that is read. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[] | null;
    }[];
  }[];
}

/** One test, or several of one file that have the same name. */
interface TestResult {
  readonly passed: boolean;
  /** The first line of the first failure. */
  readonly failure: string;
}

/** The results of one run, by file and name of the test. */
export type Results = ReadonlyMap<string, TestResult>;

/** Where the file and the name of a test meet in the keys of {@link Results}. */
export const SEPARATOR = ' > ';

// oxlint-disable-next-line no-control-regex -- the colours of MikroORM's log
const COLOUR = /\u001B\[\d+m|\\u001b\[\d+m/gu;

/** @param workspace the folder that the files are named from */
export function readResults(file: string, workspace: string): Results {
  const { testResults } = JSON.parse(readFileSync(file, 'utf8')) as Report;
  const results = new Map<string, TestResult>();
  for (const { name, message = '', assertionResults } of testResults) {
    for (const { fullName, status, failureMessages } of assertionResults) {
      const key = `${relative(workspace, name).slice('tests/'.length)}${SEPARATOR}${fullName}`;
      const { passed = true, failure = '' } = results.get(key) ?? {};
      results.set(key, {
        passed: passed && status === 'passed',
        failure: failure || firstLine(failureMessages?.[0] ?? message),
      });
    }
  }
  return results;
}

function firstLine(text: string): string {
  const line = text.replaceAll(COLOUR, '').split('\n')[0] ?? '';
  // What vitest writes of a test that took too long.
  return line === 'Error: STACK_TRACE_ERROR' ? 'it took too long' : line;
}
