import type { Step } from '../starter/walkthrough.js';

/** What to try; `test/separate.spec.ts` tries it. */
export const STEPS: readonly Step[] = [
  {
    method: 'POST',
    path: '/plain-session',
    status: 201,
    expect: 'nothing to take over. The end of the request has saved 1 row',
  },
  {
    method: 'POST',
    path: '/early-rollback',
    status: 201,
    expect: 'the request succeeds, and both of its rows are undone by hand: 0 rows',
  },
  {
    method: 'POST',
    path: '/atomic/in-a-row',
    status: 500,
    expect: 'atomic blocks in every mode, and the request fails at the end: 5 of its 9 rows',
  },
  {
    method: 'POST',
    path: '/audited',
    status: 422,
    expect: 'refused, and the attempt is on record, committed in a context of its own: 1 row',
  },
  {
    method: 'POST',
    path: '/concurrent-queries',
    status: 201,
    expect: 'six branches on six connections at once, one of them failing: 5 rows',
  },
  {
    path: '/entries',
    status: 200,
    expect: 'what has been saved, the latest first. 12 rows, when you have tried each line once',
  },
];
