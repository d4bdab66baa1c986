/**
 * Refuses to publish where package.json does not say yet where the repository is: npm takes the provenance of
 * a package by it, and the pages of the package lead there. Says what to write, and where. With `--here`,
 * before `npm publish` in this directory, it refuses in any case: another directory is the package.
 */
import { readFile } from 'node:fs/promises';

const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));

const ADDRESS = 'https://github.com/OWNER/NAME';
/** The fields, each with what it must look like and an example. */
const FIELDS = {
  repository: {
    isGiven: (value) => /^git\+https:\/\/\S+\.git$/.test(value?.url),
    example: { type: 'git', url: `git+${ADDRESS}.git` },
  },
  homepage: { isGiven: isAddress, example: `${ADDRESS}#readme` },
  bugs: { isGiven: (value) => isAddress(value?.url), example: { url: `${ADDRESS}/issues` } },
};

function isAddress(value) {
  return /^https:\/\/\S+$/.test(value);
}

const missing = Object.entries(FIELDS).filter(([field, { isGiven }]) => !isGiven(manifest[field]));
const problems = [];
if (missing.length > 0) {
  const lines = missing.map(([field, { example }]) => `  "${field}": ${JSON.stringify(example)},`);
  problems.push(
    'package.json does not say where the repository is. Write these, with the real owner and name:',
    ...lines,
    'See "Before the first publication" in CONTRIBUTING.md.',
  );
}
if (manifest.version === '0.0.0') {
  problems.push('package.json has no version yet: `npm run release:version` gives it one.');
}
if (process.argv.includes('--here')) {
  problems.push('The package is made in build/package: publish it with `npm run release:publish`.');
}
if (problems.length > 0) {
  console.error(problems.join('\n'));
  process.exitCode = 1;
}
