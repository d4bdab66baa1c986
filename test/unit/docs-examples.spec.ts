import { readdirSync, readFileSync } from 'node:fs';

const ROOT = new URL('../../', import.meta.url);
const TYPES = new URL('test/types/', ROOT);

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
  const text = readFileSync(new URL(path, ROOT), 'utf8');
  const compiled = lines(readFileSync(new URL(`${document}-examples.ts`, TYPES), 'utf8'));
  const examples = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => lines(code!));

  it('are compiled', () => {
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) {
      expect(compiled).toContain(example);
    }
  });
});
