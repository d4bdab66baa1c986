import { readFileSync } from 'node:fs';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { programsOn } from '../programs.js';
import { runProgram } from '../run-program.js';

const ROOT = new URL('../../../', import.meta.url);
const NAMES = programsOn('postgres://localhost/none').map(({ name }) => name);

/** What docs/why.md shows of each program: its code, and what it prints. */
const shown = new Map(
  [
    ...readFileSync(new URL('docs/why.md', ROOT), 'utf8').matchAll(
      /<!-- program: (\S+) -->\n\n```ts\n(.*?)```\n\n```text\n(.*?)\n```/gs,
    ),
  ].map(([, name, code, output]) => [name!, { code: code!, output: output! }]),
);

describe('sample 10-why', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createTestDatabase();
  });

  afterAll(() => database.drop());

  it('docs/why.md shows all programs and no other', () => {
    expect([...shown.keys()]).toEqual(NAMES);
  });

  it.each(NAMES)('docs/why.md shows the code of %s', (name) => {
    const file = new URL(`sample/10-why/programs/${name}.ts`, ROOT);
    expect(readFileSync(file, 'utf8').endsWith(`\n${shown.get(name)!.code}`)).toBe(true);
  });

  it.each(NAMES)('%s prints what docs/why.md shows', async (name) => {
    const program = programsOn(database.url).find((each) => each.name === name)!;
    expect(await runProgram(program, database.url)).toBe(shown.get(name)!.output);
  });
});
