import { readdirSync, readFileSync } from 'node:fs';

const ROOT = new URL('../../', import.meta.url);
const REPORTS = new URL('test/types/api/', ROOT);

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
          report: `${subpath === '.' ? 'index' : subpath.replace('./', '')}.api.md`,
          source: target.default.replace(/^\.\/dist\/(.*)\.js$/, 'lib/$1.ts'),
        },
      ],
);

// That the signatures are those of the build is compared by `npm run test:package`, which has one.
// This finds in less than a second that a report was forgotten.
describe.each(entries)('the exports of $specifier', ({ report, source }) => {
  const names = exportedNames(source);

  it('are read in full', () => {
    expect(names.length).toBeGreaterThan(0);
    // Another form of export would pass unseen.
    expect(readFileSync(new URL(source, ROOT), 'utf8')).not.toMatch(/^export (?!(type )?\{)/m);
  });

  it(`are those that test/types/api/${report} declares`, () => {
    const text = readFileSync(new URL(report, REPORTS), 'utf8');
    const declarations = /^export (?:abstract )?(?:class|const|function|interface|type) (\w+)/gm;
    const declared = new Set([...text.matchAll(declarations)].map(([, name]) => name));
    expect(declared).toEqual(new Set(names));
  });
});

/**
 * Names that stay behind types of the package: TypeScript allows its remark that the driver may be missing
 * above a declaration of its own alone.
 */
const BEHIND_EXPORTED_TYPES = ['PostgreSqlEntityManager', 'PostgreSqlMikroORM'];

describe.each(readdirSync(REPORTS))('the signatures of %s', (report) => {
  it('name no type that no entry point exports', () => {
    const text = readFileSync(new URL(report, REPORTS), 'utf8');
    const forgotten = [...text.matchAll(/\(ae-forgotten-export\) The symbol "([^"]+)"/g)];
    const names = forgotten.map(([, name]) => name!);
    expect(names.filter((name) => !BEHIND_EXPORTED_TYPES.includes(name))).toEqual([]);
    // What only members need that are tagged as @internal: the declarations leave these out.
    expect(text).not.toContain('Not exported, and needed by');
  });
});

it('every report belongs to an entry point', () => {
  expect(new Set(readdirSync(REPORTS))).toEqual(new Set(entries.map(({ report }) => report)));
});
