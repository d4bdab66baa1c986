import { setImmediate as turn } from 'node:timers/promises';

import type { Handler, Work } from '../../faults/support/scenario.js';
import { POOL_SIZE, type Answer, type World } from '../../faults/support/world.js';
import { Note } from '../../support/note.entity.js';
import { ANSWER_LIMIT_MS, tenantOf, TIMES, type ComparedFault } from '../compared-fault.js';

class BranchFailed extends Error {}

/** A branch that is still at work when its sibling fails, and goes on afterwards. */
const withLateBranch =
  (late: (work: Work) => Promise<unknown>): Handler =>
  async (work) => {
    if (work.key.startsWith('other')) {
      return behave(work);
    }
    const branch = work.session.execute('select pg_sleep(0.005)').then(() => late(work));
    work.scenario.leave(work.key, branch);
    await Promise.all([branch, Promise.reject(new BranchFailed('the other branch'))]);
  };

/** Requests that behave, over the same pool, at the same time, and more than it has slots. */
async function runOthers(world: World, requests: Promise<unknown>): Promise<Answer[]> {
  const answers: Answer[] = [];
  const faulty = { isOver: false };
  void requests.finally(() => {
    faulty.isOver = true;
  });
  const goOn = async (name: string): Promise<void> => {
    for (let round = 0; !faulty.isOver; round++) {
      answers.push(await world.ask(`other-${name}-${round}`, { limitMs: ANSWER_LIMIT_MS }));
    }
  };
  await Promise.all(Array.from({ length: POOL_SIZE * 2 }, (_, index) => goOn(String(index))));
  return answers;
}

/** What the others do: a transaction that is open for some milliseconds. */
async function behave(work: Work): Promise<void> {
  await work.insert('first');
  await work.session.execute('select pg_sleep(0.005)');
  await work.insert('second');
}

/** The late part of a branch, over several elements, as `Promise.all(items.map(save))` is. */
const several = (late: (label: string) => Promise<unknown>): Promise<unknown> =>
  Promise.allSettled(['a', 'b', 'c'].map(late));

/** One branch flushes, and the other one persists while the insert of the first is under way. */
async function persistDuringFlush(work: Work): Promise<void> {
  await work.look();
  const flushed = work.write('of the flush');
  await turn();
  work.session.persist(new Note(work.text('meanwhile')));
  await flushed;
}

async function look({ key, session, scenario }: Work): Promise<void> {
  const [row] = await session.execute<{ tenant: string | null }[]>(
    `select current_setting('app.tenant', true) as tenant`,
  );
  scenario.tenantSights.push({ own: tenantOf(key), seen: row!.tenant ?? '' });
}

/** Parallel work in one transaction. */
export const BRANCH_FAULTS: readonly ComparedFault[] = [
  {
    title: '`Promise.all` with a branch that rejects; the other one inserts late',
    proofs: ['test/faults/branches.spec.ts'],
    handler: () => withLateBranch((work) => work.insertInVain()),
  },
  {
    title: 'the same with three late inserts, while others use the pool',
    proofs: ['test/faults/contamination.spec.ts'],
    handler: () => withLateBranch((work) => several((label) => work.insertInVain(label))),
    meanwhile: runOthers,
  },
  {
    title: 'the same with the variables of two tenants (row-level security), and three late reads',
    proofs: ['test/faults/contamination.spec.ts', 'test/e2e/tenants.spec.ts'],
    hasTenants: true,
    handler: () => withLateBranch((work) => several(() => look(work))),
    meanwhile: runOthers,
    count: ({ scenario }) => [
      scenario.tenantSights.filter(({ own, seen }) => seen !== '' && seen !== own).length,
      `of ${3 * TIMES} late reads see the variables of the other tenant`,
    ],
  },
  {
    title: 'a branch that persists while another one flushes',
    proofs: ['test/e2e/flushes-in-parallel.spec.ts'],
    handler: () => persistDuringFlush,
  },
  {
    title: 'siblings in parallel `em.transactional()`, one rolls back',
    proofs: ['test/e2e/session.spec.ts', 'test/e2e/interleaved.spec.ts'],
    handler: () => async (work) => {
      const { session } = work;
      await Promise.allSettled([
        session.transactional(() => work.insert('first')),
        session.transactional(async () => {
          await work.insertInVain();
          throw new BranchFailed('this one is undone');
        }),
        session.transactional(() => work.insert('third')),
      ]);
    },
  },
];
