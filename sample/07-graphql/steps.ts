import type { Step } from '../starter/walkthrough.js';

const ask = (query: string, expect: string): Step => ({
  path: '/graphql',
  body: { query },
  method: 'POST',
  status: 200,
  expect,
});

/** What to try; `test/separate.spec.ts` tries it. */
export const STEPS: readonly Step[] = [
  ask(
    'mutation { addAuthor(name: "Ada") { id } addBook(author: "Ada", title: "Notes") { id } }',
    'two root fields in one transaction; the second finds what the first has added',
  ),
  ask(
    'mutation { addBook(author: "Ada", title: "More notes") { id } other: addBook(author: "Nobody", title: "Lost") { id } }',
    'the second field fails, so nothing is saved, and the last error says so: ROLLED_BACK',
  ),
  ask(
    '{ bookCount authors { name books { title author { name } } } }',
    'fields, a loader and a lazy reference in one transaction; 1 book, if this is the first time',
  ),
];
