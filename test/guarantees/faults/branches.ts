import { TIMES, type Fault } from '../fault.js';
import { POOL_SIZE } from '../setup.js';
import { tenantOf, type Handler, type Work } from '../work.js';
import type { Answer, World } from '../world.js';

class BranchFailed extends Error {}

/** A branch that is still at work when its sibling fails, and goes on afterwards. */
const withLateBranch =
  (late: (work: Work) => Promise<unknown>): Handler =>
  async (work) => {
    if (work.key.startsWith('other')) {
      return behave(work);
    }
    const branch = work.em.execute('select pg_sleep(0.005)').then(() => late(work));
    work.scenario.leave(branch);
    await Promise.all([branch, Promise.reject(new BranchFailed('the other branch'))]);
  };

/** Requests that behave, over the same pool, at the same time, and more than it has slots. */
async function runOthers(world: World, isOver: () => boolean): Promise<Answer[]> {
  const answers: Answer[] = [];
  const goOn = async (name: string): Promise<void> => {
    for (let round = 0; !isOver(); round++) {
      answers.push(await world.ask(`other-${name}-${round}`));
    }
  };
  await Promise.all(Array.from({ length: POOL_SIZE * 2 }, (_, index) => goOn(String(index))));
  return answers;
}

/** What the others do: a transaction that is open for some milliseconds. */
async function behave(work: Work): Promise<void> {
  await work.write('first');
  await work.em.execute('select pg_sleep(0.005)');
  await work.write('second');
}

/** The late part of a branch, over several elements, as `Promise.all(items.map(save))` is. */
const several = (late: (label: string) => Promise<unknown>): Promise<unknown> =>
  Promise.allSettled(['a', 'b', 'c'].map(late));

async function look({ key, em, scenario }: Work): Promise<void> {
  const [row] = await em.execute<{ tenant: string | null }[]>(
    `select current_setting('app.tenant', true) as tenant`,
  );
  scenario.sights.push({ own: tenantOf(key), seen: row!.tenant ?? '' });
}

/** Parallel work in one transaction. */
export const BRANCH_FAULTS: readonly Fault[] = [
  {
    title: '`Promise.all` with a branch that rejects; the other one inserts late',
    proofs: ['test/faults/branches.spec.ts'],
    handler: () => withLateBranch((work) => work.writeInVain()),
  },
  {
    title: 'the same with three late inserts, while others use the pool',
    proofs: ['test/faults/contamination.spec.ts'],
    handler: () => withLateBranch((work) => several((label) => work.writeInVain(label))),
    meanwhile: runOthers,
  },
  {
    title: 'the same with the variables of two tenants (row-level security), and three late reads',
    proofs: ['test/faults/contamination.spec.ts', 'test/e2e/tenants.spec.ts'],
    hasTenants: true,
    handler: () => withLateBranch((work) => several(() => look(work))),
    meanwhile: runOthers,
    count: ({ scenario }) => [
      scenario.sights.filter(({ own, seen }) => seen !== '' && seen !== own).length,
      `of ${3 * TIMES} late reads see the variables of the other tenant`,
    ],
  },
  {
    title: 'siblings in parallel `em.transactional()`, one rolls back',
    proofs: ['test/e2e/session.spec.ts', 'test/e2e/interleaved.spec.ts'],
    handler: () => async (work) => {
      const { em } = work;
      await Promise.allSettled([
        em.transactional(() => work.write('first')),
        em.transactional(async () => {
          await work.writeInVain();
          throw new BranchFailed('this one is undone');
        }),
        em.transactional(() => work.write('third')),
      ]);
    },
  },
];
