import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

import type { MarkdownRenderer } from 'vitepress';

import { DOCS, ROOT, pageOf } from './places.js';

/** What VitePress knows of the page that it renders. */
interface PageEnvironment {
  readonly relativePath?: string;
}

/**
 * Leads links of a page to files of the repository outside of `docs/` to where the site, or the repository,
 * shows them; the pages themselves keep the relative links that work on a code host and in the package.
 */
export function repositoryLinks(markdown: MarkdownRenderer): void {
  markdown.core.ruler.push('repository-links', (state) => {
    const { relativePath = '' } = state.env as PageEnvironment;
    const page = relativePath.startsWith('source/')
      ? relativePath.replace('source/', '')
      : `${DOCS}/${relativePath}`;
    for (const { children } of state.tokens) {
      children?.forEach((token, index) => {
        if (token.type === 'link_open') {
          const href = token.attrGet('href') ?? '';
          token.attrSet('href', siteLinkOf(page, href));
          nameByTitle(children[index + 1], page, href);
        }
      });
    }
  });
}

/** A page that is called by its file, as one does in a repository, is called by its title on the site. */
function nameByTitle(
  text: { type: string; content: string } | undefined,
  page: string,
  href: string,
): void {
  const [path = ''] = href.split('#');
  if (text?.type === 'text' && /^[\w-]+\.md$/.test(text.content) && path.endsWith(text.content)) {
    const file = readFileSync(join(ROOT, dirname(page), path), 'utf8');
    text.content = /^# (.*)$/m.exec(file)?.[1]?.replaceAll('`', '') ?? text.content;
  }
}

/** A link as the site needs it. */
function siteLinkOf(page: string, href: string): string {
  if (/^([a-z]+:|#|\/)/.test(href) || href === '') {
    return href;
  }
  const [path = '', anchor] = href.split('#');
  const file = normalize(join(dirname(page), path)).replace(/\/$/, '');
  const suffix = anchor === undefined ? '' : `#${anchor}`;
  if (file === `${DOCS}/README.md` || file === DOCS) {
    return `/pages.md${suffix}`;
  }
  if (file.startsWith(`${DOCS}/`)) {
    return `/${file.slice(DOCS.length + 1)}${suffix}`;
  }
  return pageOf(file) + suffix;
}
