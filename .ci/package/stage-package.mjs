import { statSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packedPage } from './packed-page.mjs';
import { repositoryAddress } from './repository-address.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** What npm packs in any case. */
const ALWAYS_PACKED = ['package.json', 'README.md', 'LICENSE'];
/** What only those who develop the package need of package.json. */
const OF_DEVELOPMENT = ['scripts', 'devDependencies', 'allowScripts'];

/**
 * Makes the directory that is packed and published: what `files` of package.json names, with links that lead
 * somewhere (see packed-page.mjs), and package.json without what only its developers need. Needs `dist`.
 *
 * @param {string} directory - is emptied first
 * @param {object} [fields] - of package.json, in place of those that it has
 */
export async function stagePackage(directory, fields) {
  const written = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  const manifest = { ...written, ...fields };
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  for (const file of [...ALWAYS_PACKED, ...manifest.files]) {
    await mkdir(dirname(join(directory, file)), { recursive: true });
    await cp(join(ROOT, file), join(directory, file), { recursive: true });
  }
  const names = await readdir(directory, { recursive: true });
  const packed = new Set(names.map((name) => name.replaceAll(sep, '/')));
  const files = {
    isPacked: (file) => packed.has(file),
    addressOf: (file) => addressOf(manifest, file),
  };
  for (const page of [...packed].filter((file) => file.endsWith('.md'))) {
    const text = await readFile(join(directory, page), 'utf8');
    await writeFile(join(directory, page), packedPage(page, text, files));
  }
  await writeFile(join(directory, 'package.json'), packedManifest(manifest));
}

function packedManifest(manifest) {
  const kept = Object.entries(manifest).filter(([field]) => !OF_DEVELOPMENT.includes(field));
  // The directory that is published is this one.
  const publishConfig = { ...manifest.publishConfig, directory: undefined };
  return `${JSON.stringify({ ...Object.fromEntries(kept), publishConfig }, undefined, 2)}\n`;
}

/** Where the repository shows a file as it is in this version of the package. */
function addressOf(manifest, file) {
  const repository = repositoryAddress(manifest);
  if (repository === undefined) {
    return undefined;
  }
  const kind = statSync(join(ROOT, file)).isDirectory() ? 'tree' : 'blob';
  return `${repository}/${kind}/v${manifest.version}/${file}`;
}
