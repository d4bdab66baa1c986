import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get } from '@nestjs/common';
import { InjectSession, SessionClosedError } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const WAITERS = 4;
const EMPTY_QUEUE = { size: 1, checkedOut: 1, idle: 0, waiting: 0 };

let handlers: Promise<unknown>[] = [];

@Controller()
class WaitingController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('insert')
  insert(): Promise<unknown> {
    const inserted = this.session.insert(Note, { text: 'of a request' });
    handlers.push(inserted.catch((error: unknown) => error));
    return inserted;
  }
}

/** The clients of a pool of one, in the hands of code past the sessions. */
interface PoolHolder {
  connect(): Promise<{ release(): void }>;
  on(event: 'acquire', listener: () => void): unknown;
}

describe('contexts that end while they wait for a connection', () => {
  let database: TestDatabase;
  let app: TestApp;
  let giveBack: (() => void) | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());
  beforeEach(() => {
    handlers = [];
  });
  afterEach(async () => {
    giveBack?.();
    giveBack = undefined;
    await app.close();
    expect(await database.query('select text from note')).toEqual([]);
  });

  const start = async (options: Partial<Parameters<typeof startApp>[0]> = {}): Promise<void> => {
    app = await startApp({
      connections: [
        noteConnection(database.url, { poolMax: 1, drainTimeoutMs: 500 }),
        noteConnection(database.url, { poolMax: 1, drainTimeoutMs: 500, name: 'second' }),
      ],
      controllers: [WaitingController],
      ...options,
    });
  };
  const hold = async (name?: string): Promise<PoolHolder> => {
    const pool = (await app.connection(name).pool()) as unknown as PoolHolder;
    const client = await pool.connect();
    giveBack = () => client.release();
    return pool;
  };
  const waitersStand = (count: number, name?: string): Promise<void> =>
    waitFor(() => app.pool(name).waiting === count, { what: `${count} callers to wait` });
  const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.catch((error: unknown) => error);

  const insert = (em: EntityManager): Promise<unknown> => em.insert(Note, { text: 'a waiter' });
  const KINDS: Readonly<Record<string, () => Promise<unknown>>> = {
    'a statement': () => insert(app.session()),
    'a flush': () => app.session().persist(new Note('a waiter')).flush(),
    'a read before the first write': () =>
      app.dbContext.atomic(() => app.session().execute('select 1'), { begin: 'first-write' }),
    'a statement in no transaction': () =>
      app.session().transactional(insert, { propagation: 'not_supported' as never }),
    'a transaction beside that of the session': () =>
      app.session().transactional(insert, { propagation: 'requires_new' as never }),
    'withClient()': () => app.dbContext.withClient(() => 'never'),
  };

  it.each(Object.keys(KINDS))('F1, S4: %s leaves the queue of the pool at once', async (kind) => {
    await start();
    const pool = await hold();
    const registry = app.app.get(ContextRegistry);
    const contexts = Array.from({ length: WAITERS }, () => registry.open('a test'));
    const waiting = contexts.map((context) =>
      outcomeOf(registry.runIn(context, () => KINDS[kind]!())),
    );
    await waitersStand(WAITERS);

    const ended = contexts.map((context) => registry.abandon(context));
    expect(app.pool()).toEqual(EMPTY_QUEUE);
    await Promise.all(ended);
    // The pool still has no client for them: they learn of the end by itself.
    expect(await Promise.all(waiting)).toEqual(contexts.map(() => expect.any(SessionClosedError)));

    let acquired = 0;
    pool.on('acquire', () => acquired++);
    giveBack!();
    giveBack = undefined;
    await app.dbContext.run(() => app.session().execute('select 1'));
    expect(acquired).toBe(1);
    expect(app.pool()).toEqual({ size: 1, checkedOut: 0, idle: 1, waiting: 0 });
  });

  it('F1, F3: those of a second connection do not wait for the end on the first', async () => {
    await start();
    await hold('second');
    const registry = app.app.get(ContextRegistry);
    const context = registry.open('a test');
    const asked = registry.runIn(context, () => [
      outcomeOf(app.session().execute('select pg_sleep(30)')),
      outcomeOf(insert(app.session('second'))),
    ]);
    await waitersStand(1, 'second');
    const ended = registry.abandon(context);
    expect(app.pool('second')).toEqual(EMPTY_QUEUE);
    expect(await asked[1]).toBeInstanceOf(SessionClosedError);
    await ended;
    expect(await asked[0]).toBeInstanceOf(SessionClosedError);
  });

  it.each<AdapterName>(['express', 'fastify'])(
    "F1, S4: clients that left (onDisconnect: 'rollback') wait no longer, over %s",
    async (adapter) => {
      await start({ adapter, onDisconnect: 'rollback' });
      await hold();
      const clients = await Promise.all(
        Array.from({ length: WAITERS }, () => RawClient.get(`${app.url}/insert`)),
      );
      await waitersStand(WAITERS);
      await Promise.all(clients.map((each) => each.leave()));
      await waitersStand(0);
      expect(app.pool()).toEqual(EMPTY_QUEUE);
      expect(await Promise.all(handlers)).toEqual(
        handlers.map(() => expect.any(SessionClosedError)),
      );
    },
  );

  it('F1, H3: a shutdown lets nobody wait whose context it has ended', async () => {
    await start({ shutdownTimeoutMs: 50 });
    await hold();
    const clients = await Promise.all(
      Array.from({ length: WAITERS }, () => RawClient.get(`${app.url}/insert`)),
    );
    await waitersStand(WAITERS);
    const closed = app.close();
    await waitersStand(0);
    expect(app.pool()).toEqual(EMPTY_QUEUE);
    expect(await Promise.all(handlers)).toEqual(handlers.map(() => expect.any(SessionClosedError)));
    giveBack!();
    giveBack = undefined;
    await closed;
    await Promise.all(clients.map((each) => each.response()));
  });
});
