/** What a test runner says of the test that runs. */
export interface RunnerTest {
  readonly name: string;
  /** Whether it has failed so far, and is not meant to. */
  readonly hasFailed: () => boolean;
  /** Shows a text beside the test where the runner drops the error of a hook after a failure. */
  readonly note?: (text: string) => void;
}
