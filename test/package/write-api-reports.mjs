/**
 * Writes what the built package offers its users to test/types/api, one report for each entry point:
 * `npm run api:report`. The check of the package (`npm run test:package`) compares them.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateApiReports } from './api-report.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

for (const [name, text] of await generateApiReports(ROOT)) {
  await writeFile(join(ROOT, 'test', 'types', 'api', name), text);
}
