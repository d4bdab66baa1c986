import type { StatementFate } from '../../support/wire-connection.js';
import type { World } from '../../faults/support/world.js';
import { TIMES, type ComparedFault } from '../compared-fault.js';

const PROOFS = ['test/faults/link.spec.ts'];
const HALF_OPEN = /\/second'/;

/** Has the same happen to as many statements as there are requests. */
const at =
  (pattern: RegExp, fate: StatementFate) =>
  ({ proxy }: World): void => {
    for (let each = 0; each < TIMES; each++) {
      proxy.arm(fate, pattern);
    }
  };
const disarm = ({ proxy }: World): void => proxy.disarm();

/** What the network does. */
export const LINK_FAULTS: readonly ComparedFault[] = [
  {
    title: 'the link cut as BEGIN leaves',
    proofs: PROOFS,
    arrange: at(/^begin/, 'cut'),
    handler: () => (work) => work.insert('row'),
    heal: disarm,
  },
  {
    title: 'the link cut as COMMIT leaves',
    proofs: PROOFS,
    arrange: at(/^commit/, 'cut'),
    handler: () => (work) => work.insert('row'),
    heal: disarm,
  },
  {
    title: 'the answer to COMMIT lost, the rows saved',
    proofs: PROOFS,
    arrange: at(/^commit/, 'drop-answer'),
    handler: () => (work) => work.insert('row'),
    heal: disarm,
  },
  {
    title: 'the link cut as ROLLBACK leaves',
    proofs: PROOFS,
    arrange: at(/^rollback/, 'cut'),
    handler: () => async (work) => {
      await work.insert('row');
      throw new RangeError('the handler failed');
    },
    heal: disarm,
  },
  {
    title: 'the link half open, in the middle of a transaction',
    proofs: PROOFS,
    arrange: at(HALF_OPEN, 'lose-answer'),
    handler: () => async (work) => {
      await work.insert('first');
      await work.insert('second');
    },
    heal: disarm,
  },
];
