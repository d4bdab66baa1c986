/** What a test runner says of the test that runs. */
export interface RunnerTest {
  readonly name: string;
  /** The names of the suites and tests around it and its own, where the runner has tests inside of tests. */
  readonly path?: string;
  /** Whether it has failed so far, and is not meant to. */
  readonly hasFailed: () => boolean;
  /** Whether the runner tries it again where it has failed. */
  readonly willRetry?: () => boolean;
  /** Shows a text beside the test where the runner drops the error of a hook after a failure. */
  readonly note?: (text: string) => void;
}

/** Whether a test is part of another one, as the subtests of `node:test` are, for which it calls the hooks too. */
export function isInside(test: RunnerTest | undefined, outer: RunnerTest | undefined): boolean {
  return outer?.path !== undefined && test?.path?.startsWith(`${outer.path} > `) === true;
}
