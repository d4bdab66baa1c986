import { ClsModule } from 'nestjs-cls';

import type { AdapterName } from '../support/test-app.js';
import { useFaultDatabase } from './support/describe-faults.js';
import { expectClosing, expectIdle, expectSaved, expectServing } from './support/expectations.js';
import type { Work } from './support/scenario.js';
import { TIMES } from './support/times.js';
import type { Answer, LibraryWorld } from './support/world.js';

class BranchFailed extends Error {}

const ROUNDS = 4;

/** What a statement saw: the tenant that the transaction is of, and the transaction. */
interface Sight {
  readonly tenant: string;
  readonly xid: string;
}

const tenants = ClsModule.forRoot({
  global: true,
  middleware: {
    mount: true,
    setup: (cls, request: { headers: Record<string, string> }) => {
      cls.set('tenant', request.headers['x-tenant'] ?? 'none');
    },
  },
});

async function look({ session }: Work): Promise<Sight> {
  const [sight] = await session.execute<Sight[]>(
    `select current_setting('app.tenant', true) as tenant, pg_current_xact_id()::text as xid`,
  );
  return sight!;
}

describe.each<AdapterName>(['express', 'fastify'])('faults: foreign work over %s', (adapter) => {
  const current = useFaultDatabase();
  let world: LibraryWorld;
  /** Tenant of a request, with what each of its statements saw. */
  let sights: { readonly key: string; readonly sight: Sight }[];

  beforeEach(async () => {
    sights = [];
    world = await current.start({
      adapter,
      limits: { sessionVariables: (cls) => ({ 'app.tenant': String(cls.get('tenant')) }) },
      options: { imports: [tenants] },
    });
  });

  const tenantOf = (key: string): string => (key.endsWith('b') ? 'b' : 'a');
  const note = async (work: Work): Promise<void> => {
    sights.push({ key: work.key, sight: await look(work) });
  };
  /** Tries, and says nothing when it is refused; what it got is looked at in the end. */
  const attempt = (work: Work, label: string): Promise<unknown> =>
    Promise.allSettled([
      note(work),
      work.session.execute('insert into note (text) values (?)', [`foreign/${work.key}-${label}`]),
    ]);

  /** Requests of two tenants in turn, which leave statements behind while the others run. */
  const run = async (): Promise<void> => {
    world.scenario.handler = async (work) => {
      await note(work);
      await work.look();
      await work.write('row');
      if (work.key.startsWith('quiet')) {
        return;
      }
      const slow = work.session.execute('select pg_sleep(0.005)');
      const straggler = slow.then(() => attempt(work, 'right after'));
      work.scenario.leave(work.key, straggler);
      work.scenario.leave(
        work.key,
        work.gone.then(() => attempt(work, 'after the answer')),
      );
      await Promise.all([straggler.then(() => note(work)), Promise.reject(new BranchFailed())]);
    };
    const failed = Array.from({ length: TIMES * ROUNDS }, (_, index) => {
      const key = `${index}-${index % 2 === 0 ? 'a' : 'b'}`;
      return world.ask(key, { headers: { 'x-tenant': tenantOf(key) } });
    });
    const answers = await Promise.all(failed);
    expect(new Set(answers.map(({ errorBody }) => errorBody?.error))).toEqual(
      new Set(['BranchFailed']),
    );
  };

  /** Requests that behave, over the same pool and at the same time. */
  const runBystanders = async (until: Promise<unknown>): Promise<Answer[]> => {
    const all: Answer[] = [];
    const faulty = { isOver: false };
    void until.finally(() => {
      faulty.isOver = true;
    });
    for (let index = 0; !faulty.isOver; index++) {
      const keys = [`quiet-${index}a`, `quiet-${index}b`];
      const answers = await Promise.all(
        keys.map((key) =>
          world.ask(key, { kind: 'observable', headers: { 'x-tenant': tenantOf(key) } }),
        ),
      );
      all.push(...answers);
    }
    return all;
  };

  it('F3: no row in a foreign transaction, no variable of a foreign tenant', async () => {
    const faulty = run();
    const [, bystanders] = await Promise.all([faulty, runBystanders(faulty)]);
    expect(bystanders.map(({ status }) => status)).toEqual(bystanders.map(() => 200));
    await world.scenario.late();
    await expectIdle(world);
    expect(sights.length).toBeGreaterThanOrEqual(TIMES * ROUNDS);
    expect(sights.filter(({ key, sight }) => sight.tenant !== tenantOf(key))).toEqual([]);
    const owners = new Map<string, string>();
    for (const { key, sight } of sights) {
      expect({ ...sight, owner: owners.get(sight.xid) ?? key }).toEqual({ ...sight, owner: key });
      owners.set(sight.xid, key);
    }
    expect(await expectSaved(world, bystanders, 'as answered')).toBe(bystanders.length);
    await expectServing(world);
    await expectClosing(world);
  });
});
