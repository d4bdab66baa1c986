import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';

import { CURVES } from '../curves.js';
import { drawMeasure } from './draw.js';
import { farEndsPage } from './far-ends.js';
import type { CurveFigures } from './figures.js';

const PAGE = 'far-ends.md';

/** Writes the pictures of a curve and its figures, and the page of all curves that the folder has. */
export async function writeFigures(folder: URL, figures: CurveFigures): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const measure of figures.measures) {
    await writeFile(new URL(`${measure.file}.svg`, folder), drawMeasure(figures, measure));
  }
  const json = new URL(`${figures.curve}.json`, folder);
  await writeFile(json, `${JSON.stringify(figures, undefined, 2)}\n`);
  await writeFile(new URL(PAGE, folder), farEndsPage(await readAll(folder)));
}

/** What has been measured, also by earlier runs, in the order of the curves. */
async function readAll(folder: URL): Promise<readonly CurveFigures[]> {
  const files = await readdir(folder);
  const known = CURVES.map(({ name }) => `${name}.json`).filter((file) => files.includes(file));
  const texts = await Promise.all(known.map((file) => readFile(new URL(file, folder), 'utf8')));
  return texts.map((text) => JSON.parse(text) as CurveFigures);
}
