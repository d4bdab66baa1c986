import { writeFile } from 'node:fs/promises';

/** What a run without Jest has counted. */
interface RunSummary {
  readonly passed: number;
  readonly failed: number;
}

/** Ends a run as `summary.reporter.mjs` ends one of Jest: writes its counts for CI, and sets the exit code. */
export async function endRun(summary: RunSummary): Promise<void> {
  const file = process.env['DB_CONTEXT_TEST_SUMMARY'];
  if (file !== undefined) {
    await writeFile(file, JSON.stringify(summary));
  }
  process.exitCode = summary.failed === 0 ? 0 : 1;
}
