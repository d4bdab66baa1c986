import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Measurement } from '../report/measurement.js';
import { replaceBlocks } from './blocks.js';
import { figuresOf } from './figures.js';

/**
 * A page with the figures that docs/figures has for it.
 *
 * @param root directory of the repository
 */
export function withFigures(markdown: string, root: string): string {
  return replaceBlocks(markdown, (name) =>
    figuresOf(
      name,
      (file) =>
        JSON.parse(
          readFileSync(join(root, 'docs', 'figures', `${file}.json`), 'utf8'),
        ) as Measurement,
    ),
  );
}
