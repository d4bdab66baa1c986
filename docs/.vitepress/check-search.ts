import { globSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { ROOT } from './places.js';

/** A section that the search has found. */
interface Found {
  readonly id: string;
  /** The words of the section by which it was found. */
  readonly match: Readonly<Record<string, unknown>>;
}

interface Index {
  search(query: string): readonly Found[];
}

/** The members of MiniSearch that this check uses; it comes with VitePress, in the version that the site has. */
interface MiniSearchClass {
  loadJSON(json: string, options: object): Index;
}

/**
 * Looks for each word of the built site as its search does.
 *
 * @param site the folder of the built site
 * @param searchOptions what the search ranks by
 * @throws where a section comes first that has only words which are alike, such as `res` for RLS
 */
export async function assertSearch(site: string, searchOptions: object): Promise<void> {
  const json = await indexOf(site);
  const MiniSearch = createRequire(join(ROOT, 'node_modules/vitepress/package.json'))(
    'minisearch',
  ) as MiniSearchClass;
  const index = MiniSearch.loadJSON(json, { fields: ['title', 'titles', 'text'], searchOptions });
  const problems = wordsOf(json).flatMap((word) => {
    const [first] = index.search(word);
    const matched = Object.keys(first?.match ?? {});
    return first === undefined || matched.some((each) => each.startsWith(word))
      ? []
      : [`${word}: ${first.id} comes first, for ${matched.join(', ')}`];
  });
  if (problems.length > 0) {
    throw new Error(
      ['The search prefers other words to the one that was typed.', ...problems].join('\n'),
    );
  }
}

/** The index that browsers load, as VitePress has written it. */
async function indexOf(site: string): Promise<string> {
  const [chunk] = globSync('assets/chunks/@localSearchIndexroot.*.js', { cwd: site });
  if (chunk === undefined) {
    throw new Error('The site has no index for its search.');
  }
  const { default: json } = (await import(pathToFileURL(join(site, chunk)).href)) as {
    readonly default: string;
  };
  return json;
}

function wordsOf(json: string): readonly string[] {
  const { index } = JSON.parse(json) as { readonly index: readonly (readonly [string, unknown])[] };
  return index.map(([word]) => word);
}
