import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { MarkdownRenderer } from 'vitepress';

import { DOCS, ROOT } from './places.js';

/** How far a picture shrinks on a narrow screen before it scrolls: its smallest words stay readable. */
const LEAST_SCALE = 0.75;

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
    return `<span class="figure" v-pre>${fittedIn(svg)}</span>`;
  };
}

/** Without its own style, which Vue would drop: the site has rules for the same names. */
function fittedIn(svg: string): string {
  return svg
    .replaceAll(/<style>.*?<\/style>/gs, '')
    .replace(/ width="(\d+)"/, (width, pixels: string) => {
      const least = Math.round(Number(pixels) * LEAST_SCALE);
      return `${width} style="min-width: ${least}px"`;
    })
    .trim();
}
