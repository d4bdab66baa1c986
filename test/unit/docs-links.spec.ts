/** Links of the documentation: each leads somewhere, and each page is led to. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Link {
  readonly page: string;
  readonly target: string;
}

const pages = globSync(['*.md', 'docs/**/*.md', 'sample/**/*.md', 'test/**/*.md'], {
  cwd: ROOT,
  exclude: (name) => name === 'node_modules' || name === 'dist',
}).filter((page) => !page.endsWith('.api.md') && !isOfTheSite(page));

/** Whether a page exists for the site alone, which looks at its links itself as it is built. */
function isOfTheSite(page: string): boolean {
  return /^docs\/(index\.md|reference\/|source\/)/.test(page);
}

/** Without blocks and words of code, where brackets are no links. */
function proseOf(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8')
    .replaceAll(/^```.*?^```/gms, '')
    .replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, ''));
}

const links: readonly Link[] = pages.flatMap((page) =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => ({ page, target: target! }))
    .filter(({ target }) => !/^[a-z]+:/.test(target)),
);

/** The anchors of a page, as GitHub and VitePress make them of its headings. */
function anchorsOf(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, page), 'utf8').replaceAll(/^```.*?^```/gms, '');
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  );
}

/** The file that a link leads to, relative to the root. */
function fileOf({ page, target }: Link): string {
  const [file = ''] = target.split('#');
  return file === '' ? page : normalize(join(dirname(page), file));
}

it('lead to files that exist', () => {
  expect(links.length).toBeGreaterThan(100);
  expect(links.filter((link) => !existsSync(join(ROOT, fileOf(link))))).toEqual([]);
});

it('lead to headings that exist', () => {
  const dead = links.filter((link) => {
    const [, anchor] = link.target.split('#');
    const file = fileOf(link);
    return anchor !== undefined && file.endsWith('.md') && !anchorsOf(file).includes(anchor);
  });
  expect(dead).toEqual([]);
});

it('lead from the index to each page', () => {
  const reached = links.filter(({ page }) => page === 'docs/README.md').map(fileOf);
  const all = pages.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md');
  expect(all.filter((page) => !reached.includes(page))).toEqual([]);
});
