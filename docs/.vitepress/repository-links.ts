import { dirname, join, normalize } from 'node:path';

import type { MarkdownRenderer } from 'vitepress';

import { DOCS, pageOf } from './places.js';

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
    const links = state.tokens
      .flatMap((token) => token.children ?? [])
      .filter((token) => token.type === 'link_open');
    for (const link of links) {
      const target = siteLinkOf(page, link.attrGet('href') ?? '');
      link.attrSet('href', target);
    }
  });
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
