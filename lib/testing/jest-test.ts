import type { RunnerTest } from './runner-test.js';

/** The part of the state of jest-circus that is read here, see `Circus.State` of `@jest/types`. */
interface CircusState {
  readonly currentlyRunningTest?: {
    readonly name: string;
    /** Whether it is a `test.failing()`. */
    readonly failing: boolean;
    readonly errors: readonly unknown[];
    /** How often it has begun. */
    readonly invocations?: number;
  } | null;
  readonly testTimeout?: number;
}

/**
 * The test that Jest runs. Jest hands its hooks nothing, and `expect.getState()` does not know of failures;
 * so this reads the state that jest-circus keeps in the global scope, under a symbol of this description.
 * `test/e2e/testing-keep.spec.ts` runs Jest, and fails where an upgrade changes that.
 *
 * @returns `undefined` where the runner is not jest-circus, or runs no test
 */
export function jestTest(): RunnerTest | undefined {
  const test = circusStates()
    .map((state) => state.currentlyRunningTest)
    .find((each) => Array.isArray(each?.errors));
  return test
    ? {
        name: test.name,
        hasFailed: () => test.errors.length > 0 && !test.failing,
        willRetry: () => (test.invocations ?? 1) <= retryTimes(),
      }
    : undefined;
}

/** The number of `jest.retryTimes()`, which Jest keeps under this symbol. */
function retryTimes(): number {
  const realm = globalThis as unknown as Readonly<Record<symbol, unknown>>;
  return Number(realm[Symbol.for('RETRY_TIMES')] ?? 0);
}

/** How long Jest lets a test take that says nothing of it, in milliseconds; `undefined` in another runner. */
export function jestTimeoutMs(): number | undefined {
  return circusStates()
    .map(({ testTimeout }) => testTimeout)
    .find((each) => typeof each === 'number');
}

function circusStates(): readonly CircusState[] {
  const realm = globalThis as unknown as Readonly<Record<symbol, CircusState | undefined>>;
  return Object.getOwnPropertySymbols(globalThis)
    .filter(({ description }) => description === 'JEST_STATE_SYMBOL')
    .flatMap((symbol) => realm[symbol] ?? []);
}
