/**
 * Writes the figures of the documentation: `npm run figures` fills the marked blocks of docs/*.md with what
 * the files of docs/figures say. See "Figures" in CONTRIBUTING.md.
 */
import { globSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

import { withFigures } from './pages.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

for (const page of globSync('docs/*.md', { cwd: ROOT })) {
  const file = join(ROOT, page);
  const before = await readFile(file, 'utf8');
  const after = withFigures(before, ROOT);
  if (after !== before) {
    await writeFile(file, after);
    console.log(`wrote the figures of ${page}`);
  }
}
