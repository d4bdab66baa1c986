import { Note } from '../../support/note.entity.js';
import { IN_VAIN, type Work } from '../../faults/support/scenario.js';
import type { ComparedFault } from '../compared-fault.js';

/** A transaction whose COMMIT the server refuses. */
async function writeTwice(work: Work): Promise<void> {
  await work.session.execute('set constraints note_text_unique deferred');
  await work.insert('row');
  await work.insert('row');
}

/** What becomes of a transaction at its end. */
export const COMMIT_FAULTS: readonly ComparedFault[] = [
  {
    title: 'a failed statement, its error swallowed, then commit',
    proofs: ['test/faults/server-errors.spec.ts'],
    handler: () => async (work) => {
      await work.insert('row');
      await work.session.execute('select 1 / 0').catch(() => undefined);
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
      await work.session.begin();
      await writeTwice(work);
      await work.session.commit().catch(() => work.session.commit());
    },
  },
  {
    title: 'a COMMIT that fails, its error swallowed',
    proofs: ['test/e2e/failed-early-commit.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await work.session.begin();
      await writeTwice(work);
      await work.session.commit().catch(() => undefined);
    },
  },
  {
    title: 'a first statement `insert ...; commit; select 1 / 0`',
    proofs: ['test/e2e/user-sql-ends.spec.ts', 'test/e2e/first-message.spec.ts'],
    handler: () => (work) =>
      work.session.execute(
        `insert into note (text) values ('${work.text('row')}'); commit; select 1 / 0`,
      ),
  },
  {
    title: 'a query after `em.commit()` by work that nobody awaits',
    proofs: ['test/faults/branches.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await work.session.begin();
      await work.insert('row');
      work.scenario.leave(
        work.key,
        work.gone.then(() => work.insertInVain()),
      );
      await work.session.commit();
    },
  },
  {
    title: 'the identity map after a rollback',
    proofs: ['test/e2e/session.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await work.session.begin();
      const note = new Note(`${work.key}/row${IN_VAIN}`);
      await work.session.persist(note).flush();
      await work.session.rollback();
      return { isFound: (await work.session.findOne(Note, note.id)) !== null };
    },
    count: (_, answers) => [
      answers.filter(({ value }) => (value as { isFound?: boolean } | undefined)?.isFound).length,
      'requests find a row that was never saved',
    ],
  },
];
