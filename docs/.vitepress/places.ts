import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { repositoryAddress } from '../../.ci/package/repository-address.mjs';

/** The root of the repository. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The pages of the site, relative to the root. */
export const DOCS = 'docs';

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Parameters<
  typeof repositoryAddress
>[0];

/** The file that stands for a file or a folder: of a folder, its README, and else the list of its files. */
export function shownFileOf(path: string): string {
  const readme = `${path}/README.md`;
  return existsSync(join(ROOT, readme)) ? readme : path;
}

/** Whether a path is a folder of the repository. */
export function isFolder(path: string): boolean {
  return statSync(join(ROOT, path)).isDirectory();
}

/**
 * The page that shows a file of the repository which is no page of the documentation.
 *
 * @param path relative to the root
 */
export function pageOf(path: string): string {
  if (path === 'README.md') {
    return '/';
  }
  const repository = repositoryAddress(manifest);
  if (repository !== undefined && !isPageOfProject(path)) {
    return `${repository}/${isFolder(path) ? 'tree' : 'blob'}/main/${path}`;
  }
  return `/source/${shownFileOf(path).replace(/\.md$/, '')}.md`;
}

/** Whether a file is a page about the project, such as the changelog, which the site has in any case. */
function isPageOfProject(path: string): boolean {
  return /^[A-Z]+\.md$/.test(path);
}
