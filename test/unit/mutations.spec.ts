import { globSync, readFileSync } from 'node:fs';

import { MUTATIONS, PENDING, PROMISES } from '../mutations/list.js';
import { mutated } from '../mutations/mutation.js';

const ROOT = new URL('../../', import.meta.url);

describe('the list of the mutations', () => {
  it('has at least one for each promise, or the issue that the promise is work of', () => {
    const listed = new Set([...MUTATIONS, ...PENDING].map(({ id }) => id));
    expect(PROMISES.filter((id) => !listed.has(id))).toEqual([]);
    expect([...listed].filter((id) => !PROMISES.includes(id))).toEqual([]);
  });

  it('calls each of them by a sentence of its own', () => {
    const sentences = MUTATIONS.map(({ what }) => what);
    expect(new Set(sentences).size).toBe(sentences.length);
    expect(sentences.filter((what) => !/^[A-Z'a-z].*\.$/.test(what))).toEqual([]);
  });

  it.each(MUTATIONS.map((mutation) => [mutation.id, mutation.what, mutation] as const))(
    '%s: fits the code: %s',
    (_id, _what, mutation) => {
      const text = readFileSync(new URL(mutation.file, ROOT), 'utf8');
      expect(mutated(mutation, text)).not.toBe(text);
    },
  );

  it('names specs that there are', () => {
    const specs = globSync('test/**/*.spec.ts', { cwd: ROOT.pathname });
    const isMissing = ({ spec }: { readonly spec: string }): boolean =>
      !specs.some((path) => new RegExp(spec).test(path));
    expect(MUTATIONS.filter(isMissing)).toEqual([]);
  });
});
