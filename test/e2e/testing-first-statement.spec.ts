import {
  expectNoOpenConnections,
  TestTransaction,
  useTestTransaction,
  type TestTarget,
} from 'nestjs-db-context/testing';

import { concurrentBlock } from '../support/concurrent-block.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const FIRST = 'select pg_sleep(60)';

let world: TestWorld;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.close());

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

const first = (): Promise<unknown> => world.dbContext.run(() => world.session().execute(FIRST));
const past = (): Promise<unknown> => world.connection().orm.em.fork().execute(FIRST) as never;

/** Waits until the statement runs, and returns its process. */
async function running(): Promise<number> {
  let pid: number | undefined;
  await waitFor(
    async () => {
      const rows = await world.database.query<{ pid: number }>(
        `select pid from pg_stat_activity where datname = current_database() and state = 'active'
           and pid <> pg_backend_pid() and query like '%${FIRST}%'`,
      );
      pid = rows[0]?.pid;
      return pid !== undefined;
    },
    { what: 'the statement to run' },
  );
  return pid!;
}

const cancel = async (): Promise<unknown> =>
  world.database.query('select pg_cancel_backend($1)', [await running()]);

function inUse(app: TestTarget): void {
  expect(() => expectNoOpenConnections(app)).toThrow('1 in use');
}

it.each([
  ['of a unit of work', first],
  ['in no unit of work', past],
])('T1: a first statement %s is seen while it runs', async (_, send) => {
  const db = await TestTransaction.begin(world.app);
  await db.session().count(Note);
  expect(db.openTransactions).toBe(0);
  const sent = failure(send());
  await running();
  const open = db.openTransactions;
  inUse(world.app);
  await cancel();
  expect(await sent).toMatchObject({ code: '57014' });
  expect([open, db.openTransactions]).toEqual([1, 0]);
  expectNoOpenConnections(world.app);
  await db.end();
});

it('T1: a statement of the test itself is none of the application', async () => {
  const db = await TestTransaction.begin(world.app);
  const sent = failure(db.session().execute(FIRST));
  await running();
  const open = db.openTransactions;
  expectNoOpenConnections(world.app);
  await cancel();
  await sent;
  expect(open).toBe(0);
  await db.end();
});

it('T1: the first statement of a concurrent test is seen by it, and refused at its end', async () => {
  const block = concurrentBlock(() => world.app);
  await block.hooks.run('beforeAll');
  let sent: Promise<unknown> | undefined;
  const end = await failure(
    block.runTest(async () => {
      sent = failure(first());
      await running();
      expect(block.db.openTransactions).toBe(1);
      inUse(world.app);
    }),
  );
  expect(await sent).toMatchObject({ name: expect.stringMatching(/Error|Exception/) });
  expect(end).toMatchObject({
    name: 'TestIsolationError',
    message: expect.stringContaining('1 unit(s) of work that began in the test'),
  });
  await block.hooks.run('afterAll');
  expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
});

it('T1: with concurrent: true too, a subtest is part of the test of node:test around it', async () => {
  const hooks = new Map<string, (context?: unknown) => Promise<void>>();
  const register = (name: string) => (callback: () => Promise<void>) => hooks.set(name, callback);
  const db = useTestTransaction(() => world.app, {
    concurrent: true,
    beforeAll: register('beforeAll'),
    afterAll: register('afterAll'),
    beforeEach: register('beforeEach'),
    afterEach: register('afterEach'),
  });
  const contextOf = (fullName: string): unknown => ({
    name: fullName,
    fullName,
    passed: true,
    diagnostic: () => undefined,
  });
  const [outer, inner] = [contextOf('steps'), contextOf('steps > the first step')];
  await hooks.get('beforeAll')!();
  await hooks.get('beforeEach')!(outer);
  await db.session().insert(Note, { text: 'of the test' });
  await hooks.get('beforeEach')!(inner);
  expect(await db.session().count(Note)).toBe(1);
  await hooks.get('afterEach')!(inner);
  expect(await db.session().count(Note)).toBe(1);
  await hooks.get('afterEach')!(outer);
  await hooks.get('afterAll')!();
  expect(await world.savedTexts()).toEqual([]);
});
