/** What comes first in the search of the documentation site; `npm run docs:build` looks at all words of the real one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { assertSearch } from '../../docs/.vitepress/check-search.js';
import { ROOT } from '../../docs/.vitepress/places.js';
import { searchOptions } from '../../docs/.vitepress/search-options.js';

interface Section {
  readonly id: string;
  readonly title: string;
  readonly titles: readonly string[];
  readonly text: string;
}

/** MiniSearch of VitePress. */
const MiniSearch = createRequire(join(ROOT, 'node_modules/vitepress/package.json'))(
  'minisearch',
) as new (options: object) => { addAll(sections: readonly Section[]): void };

const SECTIONS: readonly Section[] = [
  { id: '/http.html#res', title: '@Res()', titles: ['HTTP'], text: 'A handler with res answers.' },
  {
    id: '/multi-tenancy.html#start',
    title: 'Multi-tenancy with row-level security',
    titles: [],
    text: 'Row-level security (RLS): the database itself keeps tenants apart, whatever a query forgets.',
  },
];

let site: string;

beforeEach(() => {
  site = mkdtempSync(join(tmpdir(), 'site-'));
});
afterEach(() => rmSync(site, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(site, path)), { recursive: true });
  writeFileSync(join(site, path), text);
}

function writeIndex(): void {
  const index = new MiniSearch({ fields: ['title', 'titles', 'text'] });
  index.addAll(SECTIONS);
  write('package.json', '{ "type": "module" }');
  const json = JSON.stringify(JSON.stringify(index));
  write('assets/chunks/@localSearchIndexroot.abc.js', `export default ${json};`);
}

it('a word that is written as it was typed comes before one that is alike and in a title', async () => {
  writeIndex();
  await expect(assertSearch(site, searchOptions)).resolves.toBeUndefined();
});

it('a search that prefers the other one is refused, and the word is named', async () => {
  writeIndex();
  const { weights: _, ...others } = searchOptions;
  await expect(assertSearch(site, others)).rejects.toThrow(
    new Error(
      'The search prefers other words to the one that was typed.\nrls: /http.html#res comes first, for res',
    ),
  );
});

it('a site without an index is refused', async () => {
  await expect(assertSearch(site, searchOptions)).rejects.toThrow(
    new Error('The site has no index for its search.'),
  );
});
