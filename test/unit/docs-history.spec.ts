/** The documentation says how things are; how they were is in the log and the changelog. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const HISTORY =
  /as it was before|in none since|since (?:the|that|this) (?:fix|change)|(?:was|were) (?:fixed|mended|not measured)|found, and mended|measured again|formerly|in (?:earlier|older|previous) (?:versions|releases) of (?:the|this) library/gi;

it.each(globSync(['README.md', 'docs/*.md'], { cwd: ROOT }))('%s tells no history', (page) => {
  expect(readFileSync(join(ROOT, page), 'utf8').match(HISTORY) ?? []).toEqual([]);
});
