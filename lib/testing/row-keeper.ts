import type { DbConnection } from '../connection/db-connection.js';
import { InvalidOptionsError } from '../errors.js';
import type { KeptRows } from './kept-rows.js';
import { KeptRowsError } from './kept-rows-error.js';
import type { RunnerTest } from './runner-test.js';

/**
 * The option of {@link useTestTransaction} that keeps the rows of a failed test.
 *
 * @publicApi
 */
export interface KeepOptions {
  /**
   * Whether the rows of the first test that fails are committed for real instead of rolled back, to be
   * looked at. The test then fails with a {@link KeptRowsError} as well, which has a `psql` line for each
   * connection, and later tests on the application are refused.
   *
   * Jest (jest-circus), Vitest, Mocha and `node:test` say whether a test has failed; for another runner give
   * a function that says so, which is called after each test. A test that the runner is to try again is rolled
   * back, and only the last try is kept.
   *
   * @defaultValue whether the environment variable `DB_CONTEXT_KEEP_ON_FAILURE` is `1`
   */
  readonly keepOnFailure?: boolean | (() => boolean);
}

const VARIABLE = 'DB_CONTEXT_KEEP_ON_FAILURE';

/** What was kept of a test, by the connections that have the rows now. */
const keptOn = new WeakMap<
  DbConnection,
  { readonly test: string; readonly rows: KeptRows; readonly error: KeptRowsError }
>();

/** Decides which tests keep their rows, and refuses those that would see them. */
export class RowKeeper {
  readonly #onFailure: boolean | (() => boolean);
  #isAsked = false;
  /** Whether a test has kept its rows. */
  hasKept = false;

  /** @throws {@link InvalidOptionsError} the process runs in production */
  constructor({ keepOnFailure = isAskedByEnvironment() }: KeepOptions) {
    this.#onFailure = keepOnFailure;
    if (keepOnFailure !== false) {
      assertNoProduction();
    }
  }

  /**
   * A test begins.
   *
   * @throws {@link InvalidOptionsError} the runner does not say whether it fails, and has to
   */
  testBegins(test: RunnerTest | undefined): void {
    this.#isAsked = false;
    if (this.#onFailure === true && test === undefined) {
      throw new InvalidOptionsError(
        'keepOnFailure of useTestTransaction() does not learn from this test runner whether a test has ' +
          'failed. Give it a function that says so ({ keepOnFailure: () => hasFailed }), hand over the ' +
          'hooks of the runner themselves rather than functions around them, or call keep() in the test.',
      );
    }
  }

  /**
   * The test that runs is to keep its rows, however it ends.
   *
   * @throws {@link InvalidOptionsError} the process runs in production
   */
  ask(): void {
    assertNoProduction();
    this.#isAsked = true;
  }

  /** A part of the test that runs has run, in the same transaction. */
  partIsOver(test: RunnerTest | undefined): void {
    this.#isAsked = this.isDue(test);
  }

  /** Whether the rows of a test that has run are to be kept: not while it is tried again. */
  isDue(test: RunnerTest | undefined): boolean {
    if (this.#isAsked) {
      return true;
    }
    const onFailure = this.#onFailure;
    const hasFailed =
      typeof onFailure === 'function' ? onFailure() : onFailure && test?.hasFailed() === true;
    return hasFailed && test?.willRetry?.() !== true;
  }

  /** @throws {@link KeptRowsError} the rows of an earlier test are on one of the connections */
  assertNoneKept(connections: readonly DbConnection[]): void {
    const kept = connections.flatMap((each) => keptOn.get(each) ?? []);
    const [first] = kept;
    if (first !== undefined) {
      throw KeptRowsError.after(
        first.test,
        kept.map(({ rows }) => rows),
        first.error,
      );
    }
  }

  /**
   * Rows were kept.
   *
   * @param connections those of the application
   * @returns the error that the test is to fail with, so that it stands beside its failure
   */
  noteKept(
    kept: readonly KeptRows[],
    connections: readonly DbConnection[],
    runnerTest: RunnerTest | undefined,
  ): KeptRowsError {
    const test = runnerTest === undefined ? 'the test' : `the test "${runnerTest.name}"`;
    const error = KeptRowsError.of(test, kept);
    this.hasKept = true;
    for (const connection of connections) {
      const rows = kept.find(({ connectionName }) => connectionName === connection.name);
      if (rows !== undefined) {
        keptOn.set(connection, { test, rows, error });
      }
    }
    runnerTest?.note?.(error.message);
    return error;
  }
}

/**
 * Refuses to keep rows where tests run at the same time: the others would see those of the one that failed.
 *
 * @throws {@link InvalidOptionsError}
 */
export function assertKeepsNothing({ keepOnFailure = isAskedByEnvironment() }: KeepOptions): void {
  if (keepOnFailure !== false) {
    throw new InvalidOptionsError(
      `useTestTransaction() was given keepOnFailure, or ${VARIABLE}=1, with concurrent: true. Tests that run ` +
        'at the same time would see the rows that one of them keeps. Run the test that fails without ' +
        'concurrent, or without keepOnFailure.',
    );
  }
}

function isAskedByEnvironment(): boolean {
  const value = process.env[VARIABLE] ?? '';
  if (value !== '' && value !== '0' && value !== '1') {
    throw new InvalidOptionsError(
      `The environment variable ${VARIABLE} is "${value}". Set it to 1 to keep the rows of the first ` +
        'test that fails, or remove it.',
    );
  }
  return value === '1';
}

function assertNoProduction(): void {
  if (process.env['NODE_ENV'] === 'production') {
    throw new InvalidOptionsError(
      'The rows of a test are not kept where NODE_ENV is "production": they would be committed for real. ' +
        'Remove keepOnFailure or keep(), or run the tests with another NODE_ENV.',
    );
  }
}
