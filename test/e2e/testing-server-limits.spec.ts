import { Controller, Post } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DbTransaction, InjectSession } from 'nestjs-db-context';
import { TestTransaction, useTestTransaction } from 'nestjs-db-context/testing';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

/** The settings of a database that end a transaction which waits for JavaScript. */
const LIMITS = ['idle_in_transaction_session_timeout', 'transaction_timeout'];

@Controller()
class LimitsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('notes')
  async add(): Promise<void> {
    await this.session.insert(Note, { text: 'of a request' });
  }

  @DbTransaction({ idleTimeoutMs: 100 })
  @Post('limited')
  async limited(): Promise<Record<string, string>> {
    return limitsOf(this.session);
  }

  @DbTransaction({ idleTimeoutMs: 100 })
  @Post('idle')
  async idle(): Promise<void> {
    await this.session.insert(Note, { text: 'of a request that idles' });
    await ended();
    await this.session.count(Note);
  }
}

let world: TestWorld;

async function limitsOf(session: EntityManager): Promise<Record<string, string>> {
  const columns = LIMITS.map((name) => `current_setting('${name}', true) as ${name}`);
  const [row] = await session.execute<Record<string, string>[]>(`select ${columns.join(', ')}`);
  return row!;
}

/** Waits on the server for longer than the limits are. */
const idleForLong = (): Promise<unknown> => world.database.query('select pg_sleep(0.5)');

/** Waits until no transaction of the application is left on the server. */
function ended(): Promise<void> {
  return waitFor(
    async () =>
      (
        await world.database.query(
          `select 1 from pg_stat_activity where datname = current_database()
             and state like 'idle in transaction%'`,
        )
      ).length === 0,
    { what: 'the server to end the transaction' },
  );
}

beforeAll(async () => {
  world = await startWorld({}, { controllers: [LimitsController] });
  for (const name of LIMITS) {
    await world.database.query(
      `do $$ begin execute format('alter database %I set ${name} = 300', current_database()); end $$`,
    );
  }
});
afterAll(() => world.close());

describe('limits of the server on transactions that idle', () => {
  const db = useTestTransaction(() => world.app);

  db.beforeAll(async (session) => {
    await session.insert(Note, { text: 'of the block' });
  });

  it.each(['first', 'second'])(
    'T1: end no transaction of a test, in its %s test of a block',
    async () => {
      await db.session().insert(Note, { text: 'of the test' });
      await idleForLong();
      expect((await world.fetch('/notes', { method: 'POST' })).status).toBe(201);
      expect(await db.session().count(Note)).toBe(3);
      expect(await limitsOf(db.session())).toEqual({ [LIMITS[0]!]: '0', [LIMITS[1]!]: '0' });
    },
  );

  it('T1: hold for a request that sets them itself, and for that alone', async () => {
    const limited = await world.fetch('/limited', { method: 'POST' });
    expect(await limited.json()).toMatchObject({ [LIMITS[0]!]: '100ms' });
    expect(await limitsOf(db.session())).toMatchObject({ [LIMITS[0]!]: '0' });
  });
});

it('T1: a request that sets such a limit itself meets it, as in production', async () => {
  const inProduction = await world.fetch('/idle', { method: 'POST' });
  const db = await TestTransaction.begin(world.app);
  const inTest = await world.fetch('/idle', { method: 'POST' });
  await db.end().catch(() => undefined);
  expect([inProduction.status, inTest.status]).toEqual([500, 500]);
});

it('F7, T1: are back in force after the test, for which nothing is reset', async () => {
  const { session } = world;
  const inProduction = await world.dbContext.run(() => limitsOf(session()));
  expect(inProduction).toEqual({ [LIMITS[0]!]: '300ms', [LIMITS[1]!]: '300ms' });
  world.proxy.reset();
  const { size } = world.pool();
  const db = await TestTransaction.begin(world.app);
  await db.end();
  expect(await world.dbContext.run(() => limitsOf(session()))).toEqual(inProduction);
  expect(world.proxy.messages.filter((each) => /discard|reset/i.test(each))).toEqual([]);
  expect(world.pool()).toMatchObject({ size, checkedOut: 0, waiting: 0 });
});
