import { defineConfig } from 'vitepress';

import { assertLinks } from './check-links.js';
import { assertSearch } from './check-search.js';
import { anchorOf } from './heading-anchors.js';
import { inlinedFigures } from './inlined-figures.js';
import { nav, sidebar } from './navigation.js';
import { repositoryLinks } from './repository-links.js';
import { searchOptions } from './search-options.js';

/** Pages whose tables take the room of the outline. */
const WIDE_PAGES = [
  'api.md',
  'comparison.md',
  'errors.md',
  'figures/growth/far-ends.md',
  'guarantees.md',
  'migrating.md',
  'observability.md',
  'performance.md',
  'propagation.md',
  'versions.md',
];

/** The documentation as a site: `npm run docs`, and `npm run docs:build`. It loads nothing from elsewhere. */
export default defineConfig({
  lang: 'en',
  title: 'nestjs-db-context',
  description: 'One lazy MikroORM session per request and database for NestJS.',
  head: [['link', { rel: 'icon', href: '/icon.svg' }]],
  rewrites: { 'README.md': 'pages.md' },
  markdown: {
    anchor: { slugify: anchorOf },
    config: (markdown) => {
      markdown.use(repositoryLinks).use(inlinedFigures);
    },
  },
  themeConfig: {
    nav,
    sidebar,
    outline: [2, 3],
    search: {
      provider: 'local',
      options: { miniSearch: { searchOptions } },
    },
  },
  transformPageData: (page) =>
    WIDE_PAGES.includes(page.relativePath)
      ? { frontmatter: { ...page.frontmatter, aside: false, pageClass: 'wide-page' } }
      : undefined,
  // The index of the search is one chunk, which is loaded with the first search.
  vite: { build: { chunkSizeWarningLimit: 3_000 } },
  buildEnd: async ({ outDir }) => {
    assertLinks(outDir);
    await assertSearch(outDir, searchOptions);
  },
});
