import type { Handler } from '../../faults/support/scenario.js';
import type { Answer } from '../../faults/support/world.js';
import { TIMES, type ComparedFault } from '../compared-fault.js';

const PROOFS = ['test/e2e/reset-kinds.spec.ts', 'test/e2e/reset-on-release.spec.ts'];
const SEES_TENANT = `select coalesce(current_setting('app.tenant', true), '') <> '' as "isSeen"`;

/** Looks for what another request left, saves a row, and leaves the same for the next request. */
const leaveBehind =
  (leave: string, look?: string): Handler =>
  async (work) => {
    const seen = look && (await work.session.execute<{ isSeen: boolean }[]>(look));
    await work.insert('row');
    await work.session.execute(leave);
    return seen?.[0];
  };

function sights(answers: readonly Answer[]): number {
  return answers.filter(({ value }) => (value as { isSeen?: boolean } | undefined)?.isSeen).length;
}

/** Where the password is kept, and cannot be had for a while. */
class Vault {
  isSealed = true;

  readonly password = async (): Promise<string> => {
    if (this.isSealed) {
      throw new RangeError('the vault is sealed');
    }
    return 'faults';
  };
}

const vault = new Vault();

/** What a request leaves in the pool, and what a log-in leaves at the server. */
export const POOLED_FAULTS: readonly ComparedFault[] = [
  {
    title: '`SET app.tenant`, and other requests over the same connection',
    proofs: PROOFS,
    handler: () => leaveBehind(`set app.tenant = 'a'`, SEES_TENANT),
    count: (_, answers) => [sights(answers), `of ${TIMES} requests see the setting of another`],
  },
  {
    title: 'a temporary table that shadows a real one, and other requests that insert',
    proofs: PROOFS,
    handler: () =>
      leaveBehind('create temp table if not exists note (like public.note including all)'),
  },
  {
    title: '`pg_advisory_lock()` that is not unlocked, and other requests that want the lock',
    proofs: PROOFS,
    handler: () => leaveBehind('select pg_advisory_lock(13)'),
  },
  {
    title: '`password()` of pg rejects, for a while',
    proofs: ['test/e2e/failed-log-in.spec.ts'],
    driverOptions: { password: vault.password },
    arrange: () => {
      vault.isSealed = true;
    },
    handler: () => (work) => work.insert('row'),
    heal: () => {
      vault.isSealed = false;
    },
    count: ({ proxy, pool }) => [
      proxy.openConnections - pool().size,
      'connections stay open that no pool knows',
    ],
  },
];
