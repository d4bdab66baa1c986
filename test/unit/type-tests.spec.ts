import { readdirSync, readFileSync } from 'node:fs';

import { DbContext, DbContextModule } from 'nestjs-db-context';

const ROOT = new URL('../../', import.meta.url);
const TYPES = new URL('test/types/', ROOT);

/** What the module `from` lets users import, by the clauses of its `export { ... } from` lines. */
function exportedNames(file: string): string[] {
  const text = readFileSync(new URL(file, ROOT), 'utf8');
  return [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)]
    .flatMap(([, names]) => names!.split(','))
    .map((name) =>
      name
        .trim()
        .replace(/^type /, '')
        .replace(/^.* as /, ''),
    )
    .filter((name) => name !== '');
}

/** All subpaths of the package, as its users see them, and the sources behind them. */
const entries = Object.entries(
  (
    JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
      exports: Record<string, string | { default: string }>;
    }
  ).exports,
).flatMap(([subpath, target]) =>
  typeof target === 'string'
    ? []
    : [
        {
          specifier: subpath.replace(/^\./, 'nestjs-db-context'),
          source: target.default.replace(/^\.\/dist\/(.*)\.js$/, 'lib/$1.ts'),
        },
      ],
);

// The examples of documents show how a name is used, and say nothing of what must not compile.
const tests = readdirSync(TYPES)
  .filter((file) => file.startsWith('signatures-'))
  .map((file) => readFileSync(new URL(file, TYPES), 'utf8'));

const importsOf = (text: string, specifier: string): string[] =>
  [...text.matchAll(/^import (?:type )?\{([^}]*)\} from '([^']*)';/gm)]
    .filter(([, , from]) => from === specifier)
    .flatMap(([, names]) => names!.split(','))
    .map((name) => name.trim().replace(/^type /, ''));

describe.each(entries)('the exports of $specifier', ({ specifier, source }) => {
  const names = exportedNames(source);
  // Imported from the entry itself, and used: tsc and the linter see to that it is for a purpose.
  const tested = new Set(
    tests.flatMap((text) =>
      importsOf(text, specifier).filter(
        (name) => text.split(new RegExp(String.raw`\b${name}\b`)).length > 2,
      ),
    ),
  );

  it('are read in full', () => {
    expect(names.length).toBeGreaterThan(0);
    // Another form of export would pass unseen.
    expect(readFileSync(new URL(source, ROOT), 'utf8')).not.toMatch(/^export (?!(type )?\{)/m);
  });

  it('each have a type test, in test/types/signatures-*.ts', () => {
    expect(names.filter((name) => !tested.has(name))).toEqual([]);
  });
});

it.each([
  ['DbContext', Object.getOwnPropertyNames(DbContext.prototype)],
  ['DbContextModule', Object.getOwnPropertyNames(DbContextModule)],
])('each method of %s has a type test', (_class, members) => {
  const ofTheLanguage = ['constructor', 'length', 'name', 'prototype'];
  const methods = members.filter((name) => !ofTheLanguage.includes(name));

  expect(methods.length).toBeGreaterThan(0);
  expect(
    methods.filter(
      (name) => !tests.some((text) => new RegExp(String.raw`[.']${name}\b`).test(text)),
    ),
  ).toEqual([]);
});
