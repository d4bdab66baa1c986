/**
 * The second half of `npm run release:version`, after `changeset version` has written the number of the next
 * release to package.json: writes it to the other places that hold it. These are the heading of what
 * CHANGELOG.md calls unreleased, and the version that spans and metrics carry, with its report.
 */
import { readFile, writeFile } from 'node:fs/promises';

const ROOT = new URL('../', import.meta.url);
const { version } = JSON.parse(await readFile(new URL('package.json', ROOT), 'utf8'));

/** Replaces what a file says in exactly one place. */
async function rewrite(file, pattern, text) {
  const before = await readFile(new URL(file, ROOT), 'utf8');
  if (!pattern.test(before)) {
    throw new Error(`${file} has no ${String(pattern)}`);
  }
  await writeFile(
    new URL(file, ROOT),
    before.replace(pattern, () => text),
  );
}

await rewrite('CHANGELOG.md', /^## Unreleased$/m, `## ${version}`);
await rewrite(
  'lib/opentelemetry/scope.ts',
  /^export const SCOPE_VERSION = .*$/m,
  `export const SCOPE_VERSION = '${version}';`,
);
await rewrite(
  'test/types/api/opentelemetry.api.md',
  /readonly instrumentationVersion = .*$/m,
  `readonly instrumentationVersion = "${version}";`,
);
