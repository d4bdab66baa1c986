/** Draws the pictures of `docs/figures` anew: `npm run docs:diagrams`. */
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { renderDiagram } from './render-diagram.js';

const FIGURES = fileURLToPath(new URL('../../figures/', import.meta.url));

for (const source of globSync('*.dot', { cwd: FIGURES })) {
  const picture = await renderDiagram(readFileSync(FIGURES + source, 'utf8'));
  writeFileSync(FIGURES + source.replace(/\.dot$/, '.svg'), picture);
}
