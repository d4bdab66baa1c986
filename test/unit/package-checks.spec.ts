/** What the check of the package refuses; `npm run check:package` looks at the real one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { findingsIn } from '../package/declarations.mjs';
import { followLinks } from '../package/packed-links.mjs';
import { findingsOfReports } from '../package/report-findings.mjs';

const ADDRESS = 'https://example.com/owner/name';
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'package-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(directory, path)), { recursive: true });
  writeFileSync(join(directory, path), text);
}

describe('links', () => {
  it.each([
    ['a file that is packed', '[errors](docs/errors.md#code)'],
    ['a file of the repository', `[errors](${ADDRESS}/blob/v1.0.0/docs/errors.md)`],
    ['another site', '[the manual](https://example.org/)'],
    ['no link, but code', '`[list](gone.md)`\n```ts\na[0](gone.md);\n```'],
  ])('%s is taken', async (_, text) => {
    write('docs/errors.md', '# Errors');
    write('README.md', text);
    expect(await followLinks(directory, { root: directory, address: ADDRESS })).toMatchObject({
      dead: [],
    });
  });

  it.each([
    ['a file that is not packed', '[http](docs/http.md)', 'docs/http.md'],
    ['a picture that is not packed', '![life](life.svg)', 'life.svg'],
    ['a link in HTML', '<a class="x" href="docs/http.md">http</a>', 'docs/http.md'],
    ['a link by reference', '[http]\n\n[http]: docs/http.md', 'docs/http.md'],
    [
      'a file that the repository has not',
      `[http](${ADDRESS}/blob/v1.0.0/docs/http.md)`,
      `${ADDRESS}/blob/v1.0.0/docs/http.md`,
    ],
    ['an address without a version', `[x](${ADDRESS}/README.md)`, `${ADDRESS}/README.md`],
  ])('%s is dead', async (_, text, target) => {
    write('README.md', text);
    expect(await followLinks(directory, { root: directory, address: ADDRESS })).toMatchObject({
      links: 1,
      dead: [`README.md: ${target}`],
    });
  });
});

it('declarations with names of tools, internal members and ids of promises', async () => {
  write('index.d.ts', 'declare class A {\n  /** @internal */\n  own: string;\n  its: B$1;\n}\n');
  write('shared/b.d.ts', 'type B_2 = string;\nexport { type B_2 as B };\n');
  write('shared/c.d.ts', '/** The values of `$1`. */\nexport type C = string;\n');
  write('shared/d.d.ts', '/** Shut (F3, S5), (C) 2026. */\nexport type D = string;\n');
  expect(await findingsIn(directory)).toEqual([
    'index.d.ts: internal: own: string;',
    'index.d.ts: a name that a tool has made, B$1',
    'shared/b.d.ts: a name that a tool has made, B_2',
    'shared/d.d.ts: an id of a promise, (F3, S5)',
  ]);
});

it('reports with types that nobody can name and declarations without a docstring', () => {
  const report = `
// Warning: (ae-forgotten-export) The symbol "Hidden" needs to be exported by the entry point index.d.ts
//
// @public
export type A = Hidden;

// @public (undocumented)
export interface B {
    // (undocumented)
    readonly name: string;
}

// Not exported, and needed by @internal members alone: Own
`;
  expect(findingsOfReports(new Map([['index.api.md', report]]))).toEqual([
    'index.api.md: a public signature needs: "Hidden"',
    'index.api.md: left in for nobody: Own',
    'index.api.md: without a docstring: export interface B {',
  ]);
});
