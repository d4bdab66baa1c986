import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** A page as it was built. */
interface BuiltPage {
  /** Relative to the site. */
  readonly path: string;
  readonly ids: ReadonlySet<string>;
  readonly links: readonly string[];
  /** What a browser loads with the page. */
  readonly loaded: readonly string[];
}

/**
 * Looks at the pages as they were built, after VitePress has looked at the links between their sources: also at
 * anchors, at the menus, and at what a page would load from elsewhere.
 *
 * @param site the folder of the built site
 * @throws where a link leads nowhere, a page would load something from another server, or no link leads to a page
 */
export function assertLinks(site: string): void {
  const pages = new Map(
    globSync('**/*.html', { cwd: site }).map((path) => [path, readPage(site, path)]),
  );
  const dead = new Map(
    [...pages.values()].flatMap((page) =>
      page.links
        .filter((link) => !leadsSomewhere(site, pages, page, link))
        .map((link) => [link, page.path] as const),
    ),
  );
  // A link of the menu is on all pages, and is said once.
  const deadLinks = [...dead].map(([link, path]) => `${path}: a dead link, ${link}`);
  const loads = [...pages.values()].flatMap((page) =>
    page.loaded
      .filter((url) => /^([a-z]+:)?\/\//.test(url))
      .map((url) => `${page.path}: loads ${url}`),
  );
  const reached = reachedFrom(pages, 'index.html');
  const lost = [...pages.keys()]
    .filter((path) => path !== '404.html' && !reached.has(path))
    .map((path) => `${path}: no page leads to it`);
  const problems = [...deadLinks, ...loads, ...lost];
  if (problems.length > 0) {
    throw new Error(['The site has dead ends.', ...problems].join('\n'));
  }
}

function readPage(site: string, path: string): BuiltPage {
  const html = readFileSync(join(site, path), 'utf8');
  return {
    path,
    ids: new Set(matches(html, /\sid="([^"]*)"/g)),
    links: matches(html, /<a\s[^>]*?href="([^"]*)"/g).filter((link) => !/^[a-z]+:/.test(link)),
    loaded: matches(html, /<(?:link|script|img|iframe|source)\s[^>]*?(?:href|src)="([^"]*)"/g),
  };
}

function matches(html: string, pattern: RegExp): string[] {
  return [...html.matchAll(pattern)].map(([, value]) => value!.replaceAll('&amp;', '&'));
}

/** The file that a link leads to, relative to the site. */
function fileOf(page: BuiltPage, link: string): string {
  const path = decodeURIComponent(link.split(/[#?]/)[0]!);
  if (path === '') {
    return page.path;
  }
  const file = path.startsWith('/') ? path.slice(1) : normalize(join(dirname(page.path), path));
  return file === '' || file.endsWith('/') ? `${file}index.html` : file;
}

function leadsSomewhere(
  site: string,
  pages: ReadonlyMap<string, BuiltPage>,
  page: BuiltPage,
  link: string,
): boolean {
  const file = fileOf(page, link);
  const target = pages.get(file) ?? pages.get(`${file}.html`);
  if (target === undefined) {
    return existsSync(join(site, file));
  }
  const anchor = link.split('#')[1];
  return anchor === undefined || anchor === '' || target.ids.has(decodeURIComponent(anchor));
}

function reachedFrom(pages: ReadonlyMap<string, BuiltPage>, start: string): ReadonlySet<string> {
  const reached = new Set<string>();
  const left = [start];
  while (left.length > 0) {
    const page = pages.get(left.pop()!);
    if (page !== undefined && !reached.has(page.path)) {
      reached.add(page.path);
      left.push(
        ...page.links.flatMap((link) => [fileOf(page, link), `${fileOf(page, link)}.html`]),
      );
    }
  }
  return reached;
}
