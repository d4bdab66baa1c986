import { readdirSync, readFileSync } from 'node:fs';

const ROOT = new URL('../../', import.meta.url);
const TYPES = new URL('test/types/', ROOT);

/** The TypeScript that a page shows. */
function examplesOf(path: string): readonly string[] {
  const text = readFileSync(new URL(path, ROOT), 'utf8');
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
}

/** The file that an example says it is, whole, in its first line. */
function fileOf(example: string): string | undefined {
  return /^\/\/ (sample\/\S+\.ts)\n/.exec(example)?.[1];
}

/** Without the indentation, so that an example may stand inside of a function. */
function lines(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .join('\n')
    .trim();
}

const documents = readdirSync(TYPES)
  .filter((file) => file.endsWith('-examples.ts'))
  .map((file) => file.replace('-examples.ts', ''));

// tsc checks test/types; this checks that the documents show the same code.
describe.each(documents)('the examples of %s.md', (document) => {
  const path = document === 'readme' ? 'README.md' : `docs/${document}.md`;
  const compiled = lines(readFileSync(new URL(`${document}-examples.ts`, TYPES), 'utf8'));
  const examples = examplesOf(path).map(lines);

  it('are compiled', () => {
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) {
      expect(compiled).toContain(example);
    }
  });
});

const pages = readdirSync(new URL('docs/', ROOT)).filter((file) => file.endsWith('.md'));

// Samples are compiled, and run by their own specs.
it('programs are the files of the samples', () => {
  const programs = pages.flatMap((page) => examplesOf(`docs/${page}`)).filter(fileOf);
  expect(programs.length).toBeGreaterThan(2);
  for (const program of programs) {
    const file = fileOf(program)!;
    expect(program).toBe(`// ${file}\n${readFileSync(new URL(file, ROOT), 'utf8')}`);
  }
});

it('the front page of the site shows code of the README', () => {
  const readme = lines(readFileSync(new URL('readme-examples.ts', TYPES), 'utf8'));
  const examples = examplesOf('docs/index.md').map(lines);
  expect(examples).toHaveLength(1);
  expect(readme).toContain(examples[0]);
});

/** Pages whose examples are compared by others: typed from `nest new` on, and with the programs of a sample. */
const COMPARED_ELSEWHERE = {
  'quick-start': 'test/quick-start/main.ts',
  why: 'sample/10-why/test/why.spec.ts',
};

it('no page shows TypeScript that nothing compiles', () => {
  for (const [page, file] of Object.entries(COMPARED_ELSEWHERE)) {
    expect(readFileSync(new URL(file, ROOT), 'utf8')).toContain(`docs/${page}.md`);
  }
  const seen = new Set(
    ['index', ...Object.keys(COMPARED_ELSEWHERE), ...documents].map((document) => `${document}.md`),
  );
  const unseen = pages.filter((page) => !seen.has(page));
  const uncompiled = unseen.filter((page) =>
    examplesOf(`docs/${page}`).some((code) => !fileOf(code)),
  );
  expect(uncompiled).toEqual([]);
});
