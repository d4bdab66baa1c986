/** Each figure of the documentation that was measured stands beside a link to the script that measures it. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

import { figurePlaces, measuredFigures } from '../support/measured-figures.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const pages = globSync(['README.md', 'docs/*.md', 'docs/figures/**/*.md'], { cwd: ROOT });

/** The scripts that `npm run` runs, by their sources: what a reader can run to get the figure again. */
const scripts = scriptsOf(readFileSync(join(ROOT, 'package.json'), 'utf8'));

function scriptsOf(packageJson: string): Set<string> {
  const { scripts: commands } = JSON.parse(packageJson) as { scripts: Record<string, string> };
  const words = Object.values(commands).flatMap((command) => command.split(' '));
  const sources = words.map((word) =>
    word.replace(/^(\w+)\/dist\/(?:\1\/)?(.*)\.js$/, '$1/$2.ts').replace(/^\.\//, ''),
  );
  return new Set(sources.filter((source) => /^(?:bench|sample|test)\/.*main\.ts$/.test(source)));
}

/** Whether a text of a page links to a script. */
function linksToScript(page: string, text: string): boolean {
  return [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].some(([, target]) =>
    scripts.has(normalize(join(dirname(page), target!))),
  );
}

it('there are scripts that measure, and pages with figures', () => {
  expect([...scripts]).toEqual(
    expect.arrayContaining([
      'bench/main.ts',
      'bench/growth/main.ts',
      'test/guarantees/main.ts',
      'test/soak/main.ts',
      'sample/03-failover/main.ts',
    ]),
  );
  expect([...scripts].filter((script) => !existsSync(join(ROOT, script)))).toEqual([]);
  const withFigures = pages.filter(
    (page) => figurePlaces(readFileSync(join(ROOT, page), 'utf8')).length > 0,
  );
  expect(withFigures).toEqual(
    expect.arrayContaining(['README.md', 'docs/guarantees.md', 'docs/performance.md']),
  );
});

it.each(pages)('each figure of %s stands beside a link to its script', (page) => {
  const places = figurePlaces(readFileSync(join(ROOT, page), 'utf8'));
  const orphans = places.filter(({ text, leadIn }) => !linksToScript(page, text + leadIn));
  expect(orphans.map(({ figures, text }) => ({ figures, text }))).toEqual([]);
});

describe('what is taken for a measured figure', () => {
  it.each([
    ['it takes 2.3 s', ['2.3 s']],
    ['some 5 µs for each KB of JSON', ['5 µs']],
    ['70 to 204 ms', ['204 ms']],
    ['it failed after `query_wait_timeout`, in 2.3 s', ['2.3 s']],
    ['`TRUNCATE` | 27.7 ms', ['27.7 ms']],
    ['about half a millisecond', ['half a millisecond']],
    ['a few microseconds', ['a few microseconds']],
    ['200 requests a second', ['200 requests a second']],
    ['10 % more', ['10 %']],
    ['0.72 of the time', ['0.72']],
    ['1.14 of one behind an interceptor', ['1.14 of']],
    ['5.9 times one with another scope', ['5.9 times one']],
    ['three times the time', ['three times the']],
    ['nine tenths of its throughput', ['tenths of its throughput']],
    ['15 of 20 requests', ['15 of 20']],
    ['5 of the next 5', ['5 of the next 5']],
    ['20 × 200', ['20 ×']],
    ['500 to 570 MiB', ['570 MiB']],
  ])('%s', (text, figures) => {
    expect(measuredFigures(text)).toEqual(figures);
  });

  it.each([
    ['the name of its option', 'after `transactionTimeoutMs` (60 s)'],
    ['the name of its option, in a table', '| `maxBytes` | 8 MiB |'],
    ['the name of a setting of the server', '`server_login_retry` is 15 s'],
    ['that it is the default', 'waits for 10 seconds by default'],
    ['that it holds unless set', 'for 10 minutes unless set'],
    ['that it is a limit', 'or after a limit of one second'],
    ['that it is fixed', 'with a fixed 100 ms between two looks'],
    ['code around it', 'with `statement_timeout = 5s`'],
    ['the name of what has the version', 'Drizzle 0.45 and PGlite 0.5.8 on Node 22.17'],
  ])('not what is said to be a limit: %s', (_, text) => {
    expect(measuredFigures(text)).toEqual([]);
  });

  it('not that of a neighbour in the same sentence', () => {
    expect(measuredFigures('after `endTimeoutMs` (10 s) it took 2 ms')).toEqual(['2 ms']);
  });

  it('each row of a table, the head where it has the unit, each item of a list, and each block', () => {
    const page = [
      'led by this:',
      '| what | took, ms |\n| --- | --- |\n| one | 5 |\n| two | 6 s |',
      'another',
      '- one 7 s\n- none\n  more\n- three 8 s',
      '<!-- figures:a/b -->\n\n| ms |\n| --- |\n| 9 ms |\n\nMeasured\n\n<!-- /figures -->',
      '```sh\nsleep 10 s\n```',
    ].join('\n\n');
    expect(figurePlaces(page).map(({ leadIn, figures }) => ({ leadIn, figures }))).toEqual([
      { leadIn: 'led by this:', figures: ['1 ms'] },
      { leadIn: 'led by this:', figures: ['6 s'] },
      { leadIn: 'another', figures: ['7 s'] },
      { leadIn: 'another', figures: ['8 s'] },
      { leadIn: '', figures: ['9 ms'] },
    ]);
  });
});
