import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { MarkdownRenderer } from 'vitepress';

import { DOCS, ROOT } from './places.js';

/**
 * Puts an SVG of `docs/figures` into the page itself, where it takes the colours of the site; a code host shows
 * the same file as a picture, which follows the colours of the system.
 */
export function inlinedFigures(markdown: MarkdownRenderer): void {
  const asPicture = markdown.renderer.rules.image!;
  markdown.renderer.rules.image = (tokens, index, options, env, self) => {
    const source = tokens[index]!.attrGet('src') ?? '';
    if (!/^(\.\/)?figures\/.*\.svg$/.test(source)) {
      return asPicture(tokens, index, options, env, self);
    }
    const { relativePath } = env as { readonly relativePath: string };
    const svg = readFileSync(join(ROOT, DOCS, dirname(relativePath), source), 'utf8');
    // Vue takes no style out of a template; the site has its own for the same names.
    return `<span class="figure" v-pre>${svg.replaceAll(/<\?.*?\?>|<!.*?>|<style>.*?<\/style>/gs, '').trim()}</span>`;
  };
}
