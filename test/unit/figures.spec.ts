/** The figures of the documentation are those of the files that the bench has written. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { replaceBlocks } from '../../bench/figures/blocks.js';
import { figuresOf } from '../../bench/figures/figures.js';
import { withFigures } from '../../bench/figures/pages.js';
import type { Results } from '../../bench/report/results.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const pages = globSync('docs/*.md', { cwd: ROOT }).map((page) => ({
  page,
  text: readFileSync(join(ROOT, page), 'utf8'),
}));
const marked = pages.filter(({ text }) => text.includes('<!-- figures:'));

const RESULTS: Results = {
  node: 'v24.0.0',
  cpuModel: 'A processor',
  cpus: 2,
  startedAt: '2026-11-26T10:00:00.000Z',
  asked: '--parts trips',
  loadAverage: [0.5, 0.4, 0.3],
  throughput: [],
  observed: [],
  latency: [],
  roundTrips: [{ workload: 'one read', counted: { library: 2, 'hand-written': 3 } }],
  statements: [],
  promises: [],
  failures: [],
  machinery: [],
  packages: [],
  calls: [],
  memory: [],
};
const FIGURES = [
  '| workload | library | hand-written |',
  '| -------- | ------- | ------------ |',
  '| one read | 2       | 3            |',
  '',
  'Measured on 2026-11-26 with Node 24.0.0 on 2 cores (A processor, load before 0.50) by ' +
    '[bench/main.ts](../bench/main.ts): `npm run bench -- --parts trips --json docs/figures/a.json`',
].join('\n');

it('there are pages with figures', () => {
  expect(marked.map(({ page }) => page)).toContain('docs/performance.md');
});

it.each(marked)('the figures of $page are those of docs/figures: npm run figures', ({ text }) => {
  expect(text).toBe(withFigures(text, ROOT));
});

it('each file of docs/figures is shown', () => {
  const shown = new Set(
    marked.flatMap(({ text }) =>
      [...text.matchAll(/<!-- figures:([^/\s]+)\//g)].map(([, file]) => `${file}.json`),
    ),
  );
  const files = globSync('*.json', { cwd: join(ROOT, 'docs', 'figures') });
  expect(files.toSorted()).toEqual([...shown].toSorted());
});

it('a block is its table, the day, the machine, and the script', () => {
  expect(figuresOf('a/round-trips', () => RESULTS)).toBe(FIGURES);
});

it.each([
  ['an empty block', '<!-- figures:a/round-trips -->\n<!-- /figures -->'],
  ['a block of before', '<!-- figures:a/round-trips -->\n\nold\n\nlines\n\n<!-- /figures -->'],
])('%s is replaced, and nothing around it', (_, block) => {
  const text = `before\n\n${block}\n\nbetween\n\n${block}\n\nafter\n`;
  const expected = `<!-- figures:a/round-trips -->\n\n${FIGURES}\n\n<!-- /figures -->`;
  const written = replaceBlocks(text, (name) => figuresOf(name, () => RESULTS));
  expect(written).toBe(`before\n\n${expected}\n\nbetween\n\n${expected}\n\nafter\n`);
  expect(replaceBlocks(written, (name) => figuresOf(name, () => RESULTS))).toBe(written);
});

it.each([
  ['<!-- figures:a/round-trips -->\n', '1 blocks of figures begin and 0 end, of which 0 are whole'],
  ['<!-- /figures -->\n', '0 blocks of figures begin and 1 end, of which 0 are whole'],
])('a block without its other end is an error: %j', (text, message) => {
  expect(() => replaceBlocks(text, () => '')).toThrow(new Error(message));
});

it('the time by package has a column for each candidate, and sums up what takes little', () => {
  const at = { workload: 'one read', cpuUs: 10 };
  const packages = [
    { ...at, candidate: 'library', byPackage: { 'nestjs-db-context': 6, pg: 3.6, a: 0.3, b: 0.1 } },
    { ...at, candidate: 'hand-written', byPackage: { pg: 5, kysely: 4.8, a: 0.2 } },
  ] as const;
  expect(
    figuresOf('a/packages', () => ({ ...RESULTS, packages: [...packages] })).split('\n\n')[0],
  ).toBe(
    [
      '| workload | us of CPU time in | library | hand-written |',
      '| -------- | ----------------- | ------- | ------------ |',
      '| one read | all of it         | 10.0    | 10.0         |',
      '| one read | nestjs-db-context | 6.0     | 0.0          |',
      '| one read | pg                | 3.6     | 5.0          |',
      '| one read | kysely            | 0.0     | 4.8          |',
      '| one read | others            | 0.4     | 0.2          |',
    ].join('\n'),
  );
});

it('a table that there is not is an error, and so is one that the run has not measured', () => {
  expect(() => figuresOf('a/trips', () => RESULTS)).toThrow(
    new Error(
      'figures:a/trips: there is no table "trips", but summary, round-trips, promises, memory, ' +
        'calls, machinery, packages, throughput, observed, latency',
    ),
  );
  expect(() => figuresOf('a/memory', () => RESULTS)).toThrow(
    new Error('figures:a/memory: docs/figures/a.json has nothing of it'),
  );
});
