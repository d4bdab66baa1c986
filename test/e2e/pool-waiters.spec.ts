import { MikroORM } from '@mikro-orm/postgresql';
import {
  AcquireTimeoutError,
  PoolDeadlockError,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const WAITERS = 10;

/** The pool, in the hands of code past the sessions. */
interface LimitedPool {
  readonly options: { readonly connectionTimeoutMillis?: number };
  connect(): Promise<{ release(): void }>;
}

// The pool of the application has no limit of its own, as that of MikroORM by default.
describe('the pool of an orm that was handed over', () => {
  let database: TestDatabase;
  let orm: MikroORM;
  let app: TestApp;

  beforeEach(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    const options = noteConnection(database.url, { poolMax: 1 });
    orm = await MikroORM.init({ ...options, ensureDatabase: false } as never);
    app = await startApp({
      connections: [{ orm, acquireTimeoutMs: 300, deadlockTimeoutMs: 50 } as DbConnectionOptions],
    });
  });
  afterEach(async () => {
    await app.close();
    await orm.close(true);
    await database.drop();
  });

  const insert = (text: string): Promise<unknown> => app.session().insert(Note, { text });

  it('F1, F6: counts nobody who has given up waiting, and serves nobody else later for it', async () => {
    const isHeld = deferred();
    const mayEnd = deferred();
    const holder = app.dbContext.run(async () => {
      await insert('the holder');
      isHeld.resolve();
      await mayEnd.promise;
    });
    await isHeld.promise;
    const waiting = Array.from({ length: WAITERS }, (_, index) =>
      app.dbContext.run(() => insert(`waiter ${index}`)),
    );
    const outcomes = await Promise.allSettled(waiting);
    expect(outcomes.map((each) => each.status === 'rejected' && each.reason)).toEqual(
      outcomes.map(() => expect.any(AcquireTimeoutError)),
    );
    expect(app.pool()).toEqual({ size: 1, checkedOut: 1, idle: 0, waiting: 0 });

    let acquired = 0;
    (
      (await app.connection().pool()) as unknown as { on: (event: string, f: () => void) => void }
    ).on('acquire', () => acquired++);
    mayEnd.resolve();
    await holder;
    await app.dbContext.run(() => insert('the next'));
    // The client went to the next caller alone, not through the hands of those who had left.
    expect(acquired).toBe(1);
    expect(app.pool()).toEqual({ size: 1, checkedOut: 0, idle: 1, waiting: 0 });
  });

  it('C3, F1: does not count the one that a deadlock refused', async () => {
    await expect(
      app.dbContext.run(async () => {
        await insert('the outer one');
        const inner = app.dbContext.runInNewContext(() => insert('the inner one'));
        await expect(inner).rejects.toBeInstanceOf(PoolDeadlockError);
        expect(app.pool()).toEqual({ size: 1, checkedOut: 1, idle: 0, waiting: 0 });
      }),
    ).resolves.toBeUndefined();
    expect(app.pool()).toEqual({ size: 1, checkedOut: 0, idle: 1, waiting: 0 });
  });
});

describe('a pool with a limit of its own', () => {
  const DEFAULT_OF_POOL_MS = 10_000;
  let database: TestDatabase;
  let app: TestApp;
  let giveBack: (() => void) | undefined;

  beforeEach(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterEach(async () => {
    giveBack?.();
    giveBack = undefined;
    await app.close();
    await database.drop();
  });

  const start = async (
    acquireTimeoutMs: number,
    driverOptions: object = {},
  ): Promise<LimitedPool> => {
    const connection = noteConnection(database.url, { poolMax: 1, acquireTimeoutMs });
    app = await startApp({ connections: [Object.assign(connection, { driverOptions })] });
    const pool = (await app.connection().pool()) as unknown as LimitedPool;
    const client = await pool.connect();
    giveBack = () => client.release();
    return pool;
  };
  const find = (): Promise<unknown> => app.dbContext.run(() => app.session().find(Note, {}));

  it('F6: keeps it for claims where it is the shorter one', async () => {
    const pool = await start(DEFAULT_OF_POOL_MS, { connectionTimeoutMillis: 200 });
    await expect(find()).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
      cause: expect.objectContaining({ message: 'timeout exceeded when trying to connect' }),
    });
    expect(app.pool()).toEqual({ size: 1, checkedOut: 1, idle: 0, waiting: 0 });
    expect(pool.options.connectionTimeoutMillis).toBe(200);
  });

  it('F6: keeps it for everybody else while claims wait to theirs', async () => {
    const pool = await start(300);
    const waiting = Promise.allSettled([find(), find()]);
    await expect(pool.connect()).rejects.toThrow('timeout exceeded when trying to connect');
    expect(await waiting).toEqual([
      { status: 'rejected', reason: expect.any(AcquireTimeoutError) },
      { status: 'rejected', reason: expect.any(AcquireTimeoutError) },
    ]);
    expect(pool.options.connectionTimeoutMillis).toBe(300);
  });

  it('F1: serves claims and everybody else in the order in which they came', async () => {
    const pool = await start(DEFAULT_OF_POOL_MS);
    const order: string[] = [];
    const claim = async (name: string): Promise<void> => {
      await app.dbContext.run(async () => {
        await app.session().execute('select 1');
        order.push(name);
      });
    };
    const other = async (name: string): Promise<void> => {
      const client = await pool.connect();
      order.push(name);
      client.release();
    };
    const ask = [claim, other, claim, other];
    const names = ['first', 'second', 'third', 'fourth'];
    const waiters: Promise<void>[] = [];
    for (const [index, name] of names.entries()) {
      waiters.push(ask[index]!(name));
      await waitFor(() => app.pool().waiting === index + 1, { what: `the ${name} to wait` });
    }
    giveBack!();
    giveBack = undefined;
    await Promise.all(waiters);
    expect(order).toEqual(names);
    expect(app.pool()).toEqual({ size: 1, checkedOut: 0, idle: 1, waiting: 0 });
  });
});
