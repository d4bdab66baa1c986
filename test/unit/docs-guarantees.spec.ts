/** The page of guarantees has every promise that a test has in its title, and links to tests of each. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const page = textOf('docs/guarantees.md');
/** The bold words that begin a row of a table of promises. */
const promises = [...page.matchAll(/^\| \*\*([^*]+)\*\* .+ \|$/gm)].map(([, id]) => id!);
/** The specs that stand below "Tests", by their promises. */
const tests = [...page.matchAll(/^- \*\*([^*]+)\*\*: (.*)$/gm)].flatMap(([, ids, links]) =>
  ids!.split(', ').map((id) => ({ id, specs: specsOf(links!) })),
);

function specsOf(links: string): string[] {
  return [...links.matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => normalize(`docs/${target!}`));
}

/** The text of a spec, or of those of a folder. */
function specText(path: string): string {
  return statSync(join(ROOT, path)).isDirectory()
    ? globSync(`${path}/**/*.ts`, { cwd: ROOT }).map(textOf).join('\n')
    : textOf(path);
}

/** Ids as titles have them, such as `F3` of `'F3, F4: ...'`. */
function idsIn(text: string): string[] {
  return [...text.matchAll(/['`"]((?:[A-Z]\d(?:, | and |: ?))+)/g)].flatMap(
    ([, ids]) => ids!.match(/[A-Z]\d/g) ?? [],
  );
}

it('has each promise that a test names', () => {
  const specs = globSync('test/{contract,e2e,faults,property,unit}/**/*.ts', { cwd: ROOT });
  const named = new Set(specs.flatMap((spec) => idsIn(textOf(spec))));
  expect(named.size).toBeGreaterThan(30);
  expect([...named].filter((id) => !promises.includes(id))).toEqual([]);
  expect(promises.filter((id) => /^[A-Z]\d$/.test(id) && !named.has(id))).toEqual([]);
});

it('has each promise once, with its tests', () => {
  expect(promises).toEqual([...new Set(promises)]);
  expect(tests.map(({ id }) => id).toSorted()).toEqual(promises.toSorted());
});

it.each(tests.filter(({ id }) => /^[A-Z]\d$/.test(id)))(
  'a test of $id has it in its title',
  ({ id, specs }) => {
    expect(specs.filter((spec) => idsIn(specText(spec)).includes(id))).not.toEqual([]);
  },
);
