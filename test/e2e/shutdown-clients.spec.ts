import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import { TransactionPropagation } from '@mikro-orm/postgresql';
import { ConnectionClosedError } from 'nestjs-db-context';

import type { PgPool } from '../../lib/postgresql/pg-client.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const DRAIN_MS = 500;
/** The limit, what the cut itself may take, and slow cores. */
const CLOSES_WITHIN_MS = DRAIN_MS + 2_000;
const SLEEP = 'select pg_sleep(60)';

/** Takes a client of the pool, and does not give it back by itself. */
interface Borrower {
  readonly who: string;
  /** The state of its backend at the server, as soon as it holds its client. */
  readonly holds: string;
  readonly borrow: (world: TestWorld, never: Promise<void>) => Promise<unknown>;
  /** What its code comes to once it goes on, after the cut; `undefined` where it can never go on. */
  readonly comesTo: object | string | undefined;
}

const globalManager = ({ connection }: TestWorld): EntityManager => connection().orm.em.fork();
const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: unknown) => error,
  );
const isCut = expect.stringMatching(
  /Connection terminated|canceling statement due to user request/,
);
const isSleeping = `wait_event = 'PgSleep'`;

const BORROWERS: readonly Borrower[] = [
  {
    who: 'a statement of orm.em',
    holds: isSleeping,
    borrow: (world) => globalManager(world).execute(SLEEP),
    comesTo: { message: isCut },
  },
  {
    who: 'a statement of orm.em in not_supported',
    holds: isSleeping,
    borrow: (world) =>
      globalManager(world).transactional((em) => em.execute(SLEEP), {
        propagation: TransactionPropagation.NOT_SUPPORTED,
      }),
    comesTo: { message: isCut },
  },
  {
    who: 'a statement of the session in not_supported',
    holds: isSleeping,
    borrow: (world) =>
      world.dbContext.run(() =>
        world.session().transactional((em) => em.execute(SLEEP), {
          propagation: TransactionPropagation.NOT_SUPPORTED,
        }),
      ),
    comesTo: { code: 'SHUTTING_DOWN', cutOff: 'dbContext.run()' },
  },
  {
    who: 'a hung orm.em.transactional()',
    holds: `state = 'idle in transaction'`,
    borrow: (world, never) =>
      globalManager(world).transactional(async (em) => {
        await em.insert(Note, { text: 'hung' });
        await never;
        await em.insert(Note, { text: 'after the cut' });
      }),
    comesTo: { message: 'Client was closed and is not queryable' },
  },
  {
    who: 'an orm.em stream that nobody reads on',
    holds: `state = 'active' and wait_event = 'ClientRead'`,
    borrow: async (world, never) => {
      await world.database.query(
        `insert into note (text) select 'n' || i from generate_series(1, 500) i`,
      );
      const stream = globalManager(world).stream(Note, { where: { id: { $gt: 0 } } });
      for await (const _ of stream) {
        await never;
      }
    },
    // The cursor of `pg` waits for an answer of the server for ever.
    comesTo: undefined,
  },
  {
    who: 'a client that the application took from the pool itself',
    holds: `state = 'idle in transaction'`,
    borrow: async (world, never) => {
      const pool = (await world
        .connection()
        .orm.driver.getConnection()
        .getNativeClient()) as unknown as PgPool;
      const client = await pool.connect();
      await client.query('begin');
      await never;
      client.release();
    },
    comesTo: 'done',
  },
  {
    who: 'a fork of the session with a transaction of its own',
    holds: `state = 'idle in transaction'`,
    borrow: (world, never) =>
      world.dbContext.run(async () => {
        const fork = world.session().fork();
        await fork.begin();
        await fork.insert(Note, { text: 'of a fork' });
        await never;
      }),
    comesTo: { code: 'SHUTTING_DOWN', cutOff: 'dbContext.run()' },
  },
];

describe('app.close(), and clients of the pool that do not come back', () => {
  let world: TestWorld;
  let applicationName: string;
  let never: Deferred<void>;

  beforeEach(async () => {
    applicationName = `clients_${randomUUID()}`;
    never = deferred();
    world = await startWorld(
      { drainTimeoutMs: DRAIN_MS, applicationName, endTimeoutMs: 500 },
      { shutdownTimeoutMs: 100 },
    );
  });
  afterEach(async () => {
    never.resolve();
    // Where it fails, the world must close all the same.
    world.proxy.cut();
    await world.close();
  });

  const backends = (condition: string): Promise<unknown[]> =>
    world.database.query(
      `select pid, state, query from pg_stat_activity where application_name = $1 and (${condition})`,
      [applicationName],
    );
  const until = (count: number, condition: string): Promise<void> =>
    waitFor(async () => (await backends(condition)).length === count, {
      what: `${count} backends where ${condition}`,
    });
  const closeInTime = async (): Promise<void> => {
    let isClosed = false;
    const closing = world.app.close().then(() => {
      isClosed = true;
    });
    await waitFor(() => isClosed, { what: 'app.close()', timeoutMs: CLOSES_WITHIN_MS });
    await closing;
  };

  it.each(BORROWERS)(
    'H3: $who: it closes within the limit, and the client is cut',
    async (each) => {
      const result = outcomeOf(each.borrow(world, never.promise));
      await until(1, each.holds);
      await closeInTime();
      await until(0, 'true');
      expect(world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
      never.resolve();
      if (typeof each.comesTo === 'string') {
        expect(await result).toBe(each.comesTo);
      } else if (each.comesTo !== undefined) {
        expect(await result).toMatchObject(each.comesTo);
      }
      expect(world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
      expect((await world.savedTexts()).filter((text) => !/^n\d/.test(text))).toEqual([]);
    },
  );

  it('H3: connection.close(): a session in a statement, and one that waits for a client, learn why', async () => {
    await world.close();
    world = await startWorld({ drainTimeoutMs: DRAIN_MS, applicationName, poolMax: 1 });
    const cutOff = {
      constructor: ConnectionClosedError,
      code: 'CONNECTION_CLOSED',
      connectionName: 'default',
      cutOffAfterMs: DRAIN_MS,
    };
    const running = outcomeOf(world.dbContext.run(() => world.session().execute(SLEEP)));
    await until(1, isSleeping);
    const waiting = outcomeOf(globalManager(world).execute('select 1'));
    const waitingSession = outcomeOf(
      world.dbContext.run(() => world.session().execute('select 1')),
    );
    await waitFor(() => world.pool().waiting === 2, { what: 'both to wait' });
    await world.connection().close();
    expect(await running).toMatchObject(cutOff);
    expect(await waiting).toMatchObject(cutOff);
    expect(await waitingSession).toMatchObject(cutOff);
    await until(0, 'true');
    expect(world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
  });
});
