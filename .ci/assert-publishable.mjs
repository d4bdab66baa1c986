/**
 * Before `npm publish`: refuses where package.json does not name the repository yet. npm takes the provenance
 * of a package by it, and makes links of the README that lead to `docs/` by it.
 */
import { readFile } from 'node:fs/promises';

const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
const missing = ['repository', 'homepage', 'bugs'].filter((field) => manifest[field] === undefined);
if (missing.length > 0) {
  console.error(
    `package.json has no ${missing.join(', ')}: see "Before the first publication" in CONTRIBUTING.md.`,
  );
  process.exitCode = 1;
}
