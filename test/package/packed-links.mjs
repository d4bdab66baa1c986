import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

/** The ways in which a page of Markdown leads somewhere. */
const TARGETS = [
  /\]\(<?([^)\s>]+)/g,
  /^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)/gm,
  /<\w+\s[^>]*(?:href|src)=["']([^"']+)/g,
];

/**
 * Looks at the links of a package's pages as those do who have installed it.
 *
 * @param {string} directory - the package, with all that is packed
 * @param {{ root: string, address?: string }} repository - its files, and where it shows them
 * @returns {Promise<{ links: number, intoRepository: number, dead: string[] }>} how many links there are, how
 *   many of them lead into the repository, and those that lead nowhere
 */
export async function followLinks(directory, repository) {
  const names = await readdir(directory, { recursive: true });
  const links = [];
  for (const page of names.filter((name) => name.endsWith('.md'))) {
    for (const target of targetsOf(await readFile(join(directory, page), 'utf8'))) {
      links.push({ page, target });
    }
  }
  const dead = links.filter(
    ({ page, target }) => !leadsTo(join(directory, page), target, repository),
  );
  return {
    links: links.length,
    intoRepository: links.filter(({ target }) => isInRepository(target, repository)).length,
    dead: dead.map(({ page, target }) => `${page}: ${target}`),
  };
}

function isInRepository(target, { address }) {
  return address !== undefined && target.startsWith(address);
}

function targetsOf(text) {
  const prose = text.replaceAll(/^```.*?^```/gms, '').replaceAll(/`[^`\n]*`/g, '');
  return TARGETS.flatMap((pattern) => [...prose.matchAll(pattern)].map(([, target]) => target));
}

/** Addresses of other sites are taken for good, as this needs no network. */
function leadsTo(page, target, repository) {
  const [path] = target.split('#');
  if (isInRepository(path, repository)) {
    const place = path.slice(repository.address.length);
    const [, file] = /^\/(?:blob|tree)\/v[^/]+\/(.+)$/.exec(place) ?? [];
    return file !== undefined && existsSync(join(repository.root, file));
  }
  if (/^[a-z]+:/.test(path) || path === '') {
    return true;
  }
  return existsSync(normalize(join(dirname(page), path)));
}
