/** The menu of the documentation site has each of its pages. */
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { sidebar } from '../../docs/.vitepress/navigation.js';

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
/** Those that the site shows under another name, or that its title leads to. */
const ELSEWHERE = ['README.md', 'index.md'];

it('has each page once', () => {
  const shown = sidebar
    .flatMap(({ items = [] }) => items)
    .map(({ link }) => `${link!.slice(1)}.md`)
    .filter((page) => !page.startsWith('source/') && page !== 'reference/.md');
  const pages = globSync('*.md', { cwd: DOCS }).filter((page) => !ELSEWHERE.includes(page));
  expect(
    shown.filter((page) => page !== 'pages.md').toSorted((a, b) => a.localeCompare(b)),
  ).toEqual(pages.toSorted((a, b) => a.localeCompare(b)));
});
