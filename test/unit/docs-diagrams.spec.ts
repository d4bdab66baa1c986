/** The pictures of the documentation are those that their texts describe. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { renderDiagram } from '../../docs/.vitepress/diagrams/render-diagram.js';

const FIGURES = fileURLToPath(new URL('../../docs/figures/', import.meta.url));
const sources = globSync('*.dot', { cwd: FIGURES });

it('there are some', () => {
  expect(sources.length).toBeGreaterThan(4);
});

it.each(sources)('%s is drawn; otherwise run npm run docs:diagrams', async (source) => {
  const drawn = await renderDiagram(readFileSync(FIGURES + source, 'utf8'));
  expect(readFileSync(FIGURES + source.replace('.dot', '.svg'), 'utf8')).toBe(drawn);
});

it.each(sources)('%s says in words what it shows', (source) => {
  const picture = readFileSync(FIGURES + source.replace('.dot', '.svg'), 'utf8');
  expect(picture).toMatch(/<title>[A-Z][^<]+<\/title>\n<desc>[A-Z][^<]{80,}\.<\/desc>/);
});
