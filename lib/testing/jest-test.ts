import type { RunnerTest } from './runner-test.js';

/** The part of the state of jest-circus that is read here, see `Circus.State` of `@jest/types`. */
interface CircusState {
  readonly currentlyRunningTest?: {
    readonly name: string;
    /** Whether it is a `test.failing()`. */
    readonly failing: boolean;
    readonly errors: readonly unknown[];
  } | null;
}

/**
 * The test that Jest runs. Jest hands its hooks nothing, and `expect.getState()` does not know of failures;
 * so this reads the state that jest-circus keeps in the global scope, under a symbol of this description.
 * `test/e2e/testing-keep.spec.ts` runs Jest, and fails where an upgrade changes that.
 *
 * @returns `undefined` where the runner is not jest-circus, or runs no test
 */
export function jestTest(): RunnerTest | undefined {
  const realm = globalThis as unknown as Readonly<Record<symbol, unknown>>;
  const test = Object.getOwnPropertySymbols(globalThis)
    .filter(({ description }) => description === 'JEST_STATE_SYMBOL')
    .map((symbol) => (realm[symbol] as CircusState | undefined)?.currentlyRunningTest)
    .find((each) => Array.isArray(each?.errors));
  return test
    ? {
        name: test.name,
        hasFailed: () => test.errors.length > 0 && !test.failing,
      }
    : undefined;
}
