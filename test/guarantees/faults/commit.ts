import { Note } from '../../support/note.entity.js';
import type { Fault } from '../fault.js';
import { IN_VAIN, type Work } from '../work.js';

/** A transaction whose COMMIT the server refuses. */
async function writeTwice(work: Work): Promise<void> {
  await work.em.execute('set constraints note_text_unique deferred');
  await work.write('row');
  await work.write('row');
}

/** What becomes of a transaction at its end. */
export const COMMIT_FAULTS: readonly Fault[] = [
  {
    title: 'a failed statement, its error swallowed, then commit',
    proofs: ['test/faults/server-errors.spec.ts'],
    handler: () => async (work) => {
      await work.write('row');
      await work.em.execute('select 1 / 0').catch(() => undefined);
    },
  },
  {
    title: 'a COMMIT that fails (deferred constraint)',
    proofs: ['test/faults/server-errors.spec.ts'],
    handler: () => writeTwice,
  },
  {
    title: 'a COMMIT that fails, and committing again',
    proofs: ['test/e2e/committing-again.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await work.em.begin();
      await writeTwice(work);
      await work.em.commit().catch(() => work.em.commit());
    },
  },
  {
    title: 'a query after `em.commit()` by work that nobody awaits',
    proofs: ['test/faults/branches.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await work.em.begin();
      await work.write('row');
      work.scenario.leave(work.over.then(() => work.writeInVain()));
      await work.em.commit();
    },
  },
  {
    title: 'the identity map after a rollback',
    proofs: ['test/e2e/session.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await work.em.begin();
      const note = new Note(`${work.key}/row${IN_VAIN}`);
      await work.em.persist(note).flush();
      await work.em.rollback();
      return { isFound: (await work.em.findOne(Note, note.id)) !== null };
    },
    count: (_, answers) => [
      answers.filter(({ value }) => (value as { isFound?: boolean } | undefined)?.isFound).length,
      'requests find a row that was never saved',
    ],
  },
];
