import { writeFileSync } from 'node:fs';

/**
 * Jest reporter that prints nothing: it writes `{ passed, failed }` as JSON to the file that
 * `DB_CONTEXT_TEST_SUMMARY` names, for `.ci/run`. Without the variable it does nothing.
 */
export default class SummaryReporter {
  /**
   * @param {unknown} _contexts
   * @param {import('jest').AggregatedResult} results
   */
  onRunComplete(_contexts, results) {
    const file = process.env['DB_CONTEXT_TEST_SUMMARY'];
    if (file === undefined) return;
    const summary = {
      passed: results.numPassedTests,
      // A file that could not even be loaded has no tests to count, but it is a failure all the same.
      failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
    };
    writeFileSync(file, JSON.stringify(summary));
  }
}
