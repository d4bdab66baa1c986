import { setImmediate as turn } from 'node:timers/promises';

import { TransactionPropagation } from '@mikro-orm/core';

import { IN_VAIN, type Work } from '../../faults/support/scenario.js';
import { Note } from '../../support/note.entity.js';
import type { ComparedFault } from '../compared-fault.js';

const { REQUIRES_NEW } = TransactionPropagation;

/** A row that must never be there, for those who do not insert it through the session itself. */
const inVain = ({ key }: Work): { text: string } => ({ text: `${key}/row${IN_VAIN}` });

/** A transaction of its own that outlives its request. */
async function leaveTransaction(work: Work): Promise<void> {
  await work.insert('row');
  const own = work.session.transactional(
    async (em) => {
      await work.gone;
      await em.insert(Note, inVain(work));
    },
    { propagation: REQUIRES_NEW },
  );
  work.scenario.leave(work.key, own);
}

/** A statement after the response, whose promise nobody holds. */
async function insertUnheard(work: Work): Promise<void> {
  await work.insert('row');
  const late = work.gone.then(() => {
    void work.session.insert(Note, inVain(work));
    // Its end is waited for, so that the insert before it is over when the rows are counted.
    return work.session.execute('select pg_sleep(0.1)');
  });
  work.scenario.leave(work.key, late);
}

/** Aborts an insert that another statement of the same transaction keeps waiting. */
async function abortInsert(work: Work): Promise<void> {
  await work.insert('row');
  const before = work.session.execute('select pg_sleep(0.05)');
  const controller = new AbortController();
  const aborted = work.session.insert(Note, inVain(work), {
    signal: controller.signal,
    inflightQueryAbortStrategy: 'cancel query',
  });
  const outcome = Promise.allSettled([aborted]);
  await turn();
  controller.abort(new RangeError('no longer wanted'));
  await outcome;
  await before;
}

/** Statements and transactions that nobody waits for, or no longer. */
export const LATE_FAULTS: readonly ComparedFault[] = [
  {
    title: 'an insert after the response whose promise nobody holds',
    proofs: ['test/e2e/unawaited-statements.spec.ts'],
    handler: () => insertUnheard,
  },
  {
    title: 'a transaction of its own (`requires_new`) that nobody awaits, and that inserts late',
    proofs: ['test/e2e/survivors.spec.ts', 'test/e2e/owned-transactions.spec.ts'],
    handler: () => leaveTransaction,
  },
  {
    title: 'an insert that is aborted (`signal`) while it waits for the statement before it',
    proofs: ['test/e2e/abort-at-the-gate.spec.ts'],
    handler: () => abortInsert,
  },
  {
    title: 'a transaction of its own (`requires_new`) in each request, awaited',
    proofs: ['test/e2e/pool-deadlock.spec.ts'],
    limits: { acquireTimeoutMs: 500, transactionTimeoutMs: 60_000 },
    handler: () => async (work) => {
      await work.insert('row');
      // It writes nothing: what it commits by itself would stay, whatever becomes of the request.
      await work.session.transactional((em) => em.execute('select 1'), {
        propagation: REQUIRES_NEW,
      });
    },
  },
];
