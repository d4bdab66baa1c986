/** Where no connection is had, the error of each route says that it was this one, also where several wait for one. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

import { DriverException } from '@mikro-orm/core';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Param, Post } from '@nestjs/common';
import {
  AcquireTimeoutError,
  ConnectionClosedError,
  ConnectionFailedError,
  DbContextModule,
  HookTimeoutError,
  InvalidTransactionStateError,
  NoPrimaryError,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const NOBODY = '127.0.0.1:1';
const NOBODY_EITHER = '127.0.0.1:2';
const CONTEXT_OF_ONE = 'in the context of OneController.ask';
const CONTEXT_OF_OTHER = 'in the context of OtherController.ask';

/** Takes connections, and never says a word. */
const silence = createServer();

let at: TestApp;
let database: TestDatabase;
/** What the work of a route is, on the connection of that name, and what it has failed with, by the route. */
let work: (name: string) => Promise<unknown>;
const errors: Record<string, unknown> = {};

const askSession = (name: string): Promise<unknown> => at.session(name).execute('select 1');

@Controller('one')
class OneController {
  @Post(':name')
  async ask(@Param('name') name: string): Promise<void> {
    errors['one'] = await work(name).catch((error: unknown) => error);
  }
}

@Controller('other')
class OtherController {
  @Post(':name')
  async ask(@Param('name') name: string): Promise<void> {
    errors['other'] = await work(name).catch((error: unknown) => error);
  }
}

const ask = (controller: 'one' | 'other', name: string): Promise<Response> =>
  at.fetch(`/${controller}/${name}`, { method: 'POST' });

function connectionTo(name: string, change: (url: URL) => void): DbConnectionOptions {
  const url = new URL(database.url);
  change(url);
  return noteConnection(url.href, { name });
}

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  const { url } = database;
  const { name: _, ...down } = connectionTo('', (each) => {
    each.host = NOBODY;
  });
  silence.listen(0, '127.0.0.1');
  await once(silence, 'listening');
  const { port } = silence.address() as AddressInfo;
  const silent = noteConnection(url.replace(new URL(url).host, `127.0.0.1:${port}`), {
    acquireTimeoutMs: 200,
  });
  const connections = [
    { ...down, name: 'refused' },
    connectionTo('unknown-user', (each) => {
      each.username = 'nobody_at_all';
    }),
    connectionTo('missing', (each) => {
      each.pathname = '/no_such_database';
    }),
    { ...down, name: 'created', ensureDatabase: true },
    noteConnection(url, { name: 'closing', poolMax: 1, drainTimeoutMs: 200 }),
    {
      ...noteConnection(url, { name: 'reserved' }),
      onReserveConnection: () => Promise.reject(new Error('not reserved')),
    },
    {
      ...noteConnection(url, { name: 'without-primary' }),
      failover: { hosts: [NOBODY, NOBODY_EITHER] },
    },
    noteConnection(url, { name: 'without-pool' }),
    {
      ...noteConnection(url, { name: 'without-pool-to-search' }),
      failover: { hosts: [NOBODY, NOBODY_EITHER] },
    },
    { ...silent, name: 'silent' },
    {
      ...noteConnection(url, { name: 'slow-hook', acquireTimeoutMs: 200 }),
      beforeSession: () => new Promise<void>(() => undefined),
    },
    {
      ...noteConnection(url, { name: 'misused' }),
      beforeSession: () => askSession('misused').then(() => undefined),
    },
    {
      ...defineConfig({
        clientUrl: url,
        entities: [Note],
        driverOptions: { password: () => Promise.reject(new VaultError()) },
      }),
      name: 'sealed',
    },
  ] as DbConnectionOptions[];
  at = await startApp({
    connections: [noteConnection(url)],
    imports: connections.map((each) => DbContextModule.forFeature(each)),
    controllers: [OneController, OtherController],
  });
});
afterAll(async () => {
  await at?.close();
  silence.close();
  await database?.drop();
});

/** What an application may throw where `pg` asks it for a password. */
class VaultError extends Error {
  readonly #reason = 'sealed';

  get reason(): string {
    return this.#reason;
  }
}

describe('connect() in a route', () => {
  beforeEach(() => {
    work = (name) => at.connection(name).connect();
  });

  it.each([
    ['refused', ConnectionFailedError],
    ['without-primary', NoPrimaryError],
    ['silent', AcquireTimeoutError],
  ])('%s: its error names the route', async (name, type) => {
    await ask('one', name);
    expect(errors['one']).toMatchObject({
      constructor: type,
      origin: 'OneController.ask',
      message: expect.stringContaining(CONTEXT_OF_ONE),
    });
  });
});

describe('a statement of a session', () => {
  beforeEach(() => {
    work = askSession;
  });

  it.each([
    ['refused', ConnectionFailedError, 'CONNECTION_FAILED', { code: 'ECONNREFUSED' }],
    ['unknown-user', ConnectionFailedError, 'CONNECTION_FAILED', { code: '28P01' }],
    ['missing', ConnectionFailedError, 'CONNECTION_FAILED', { code: '3D000' }],
    ['reserved', ConnectionFailedError, 'CONNECTION_FAILED', { message: 'not reserved' }],
    ['sealed', ConnectionFailedError, 'CONNECTION_FAILED', { reason: 'sealed' }],
    ['without-primary', NoPrimaryError, 'NO_PRIMARY', { code: 'ECONNREFUSED' }],
    ['slow-hook', HookTimeoutError, 'HOOK_TIMEOUT', undefined],
    ['misused', InvalidTransactionStateError, 'INVALID_TRANSACTION_STATE', undefined],
  ])('%s: its error names the route and the connection', async (name, type, code, cause) => {
    await ask('one', name);
    expect(errors['one']).toMatchObject({
      constructor: type,
      code,
      origin: 'OneController.ask',
      connectionName: name,
      ...(cause !== undefined && { cause: expect.objectContaining(cause) }),
    });
    const [says] = String(errors['one']).split('\nSee ');
    expect(says).toMatch(new RegExp(`\\bconnection "${name}"`, 'i'));
    expect(says).toContain(CONTEXT_OF_ONE);
  });

  it('a server that takes connections and answers no login is told from a pool that is too small', async () => {
    await ask('one', 'silent');
    expect(errors['one']).toMatchObject({
      constructor: AcquireTimeoutError,
      message: expect.stringMatching(
        /^The server of "silent" in the context of OneController.ask did not open a connection within 200 ms/,
      ),
    });
  });

  it.each([
    ['without-primary', 'No host of connection "without-primary"'],
    ['created', 'Could not connect to the database of connection "created"'],
  ])('%s: two routes that wait for one answer are named each by its own', async (name, start) => {
    await Promise.all([ask('one', name), ask('other', name)]);
    expect(String(errors['one'])).toContain(`${start} ${CONTEXT_OF_ONE}`);
    expect(String(errors['other'])).toContain(`${start} ${CONTEXT_OF_OTHER}`);
  });

  it.each(['without-pool', 'without-pool-to-search'])(
    '%s: so are those that wait for the pool itself',
    async (name) => {
      const connection = at.connection(name).orm.driver.getConnection('write');
      const noPool = new Error('no pool');
      Object.assign(connection, { getNativeClient: () => Promise.reject(noPool) });
      await Promise.all([ask('one', name), ask('other', name)]);
      for (const [route, origin] of [
        ['one', 'OneController.ask'],
        ['other', 'OtherController.ask'],
      ] as const) {
        expect(errors[route]).toMatchObject({
          constructor: ConnectionFailedError,
          message: expect.stringContaining(`"${name}" in the context of ${origin}: no pool`),
          origin,
          cause: noPool,
        });
      }
    },
  );

  it('one that waits as the connection is closed is told of in the context of its route', async () => {
    const hasBegun = deferred();
    const isOver = deferred();
    const holding = at.dbContext.newSession(
      async (session) => {
        await session.execute('select 1');
        hasBegun.resolve();
        await isOver.promise;
      },
      { connection: 'closing' },
    );
    await hasBegun.promise;
    const waiting = ask('one', 'closing');
    await waitFor(() => at.pool('closing').waiting === 1, { what: 'the route to wait' });
    await at.connection('closing').close();
    await waiting;
    isOver.resolve();
    await holding;
    expect(errors['one']).toMatchObject({
      constructor: ConnectionClosedError,
      code: 'CONNECTION_CLOSED',
      origin: 'OneController.ask',
      cutOffAfterMs: 200,
    });
    expect(String(errors['one'])).toContain(`The connection "closing" ${CONTEXT_OF_ONE} is closed`);
  });
});

describe('a statement past the session', () => {
  const fork = (name: string): EntityManager => at.connection(name).orm.em.fork();
  const byFork = (name: string): Promise<unknown> => fork(name).find(Note, {});
  const byKysely = (name: string): Promise<unknown> =>
    fork(name).getKysely<{ note: { id: number } }>().selectFrom('note').execute();

  const FAILURES = [
    ['refused', 'ECONNREFUSED', `connect ECONNREFUSED ${NOBODY}`],
    ['unknown-user', '28P01', 'password authentication failed for user "nobody_at_all"'],
    ['missing', '3D000', 'database "no_such_database" does not exist'],
  ] as const;

  it.each(FAILURES)(
    '%s: MikroORM throws what it throws without this library, which names the route',
    async (name, code, message) => {
      work = byFork;
      await ask('one', name);
      expect(errors['one']).toMatchObject({
        constructor: DriverException,
        code,
        message: `${message} (connection "${name}" ${CONTEXT_OF_ONE})`,
      });
      expect(errors['one']).not.toHaveProperty('cause');
    },
  );

  it.each(FAILURES)(
    '%s: the error of the driver has its class and fields, and the route in what is printed',
    async (name, code, message) => {
      const plain = await byKysely(name).catch((error: unknown) => error as Error);
      work = byKysely;
      await ask('one', name);
      const error = errors['one'] as Error;
      expect(Object.getPrototypeOf(error)).toBe(Object.getPrototypeOf(plain));
      expect(Object.entries(error)).toEqual(Object.entries(plain as Error));
      expect(plain).toMatchObject({ code, message });
      expect(error.message).toBe(`${message} (connection "${name}" ${CONTEXT_OF_ONE})`);
      expect(error.stack).toContain(`${error.message}\n    at `);
    },
  );

  it('what the application has thrown itself stays that object', async () => {
    work = byKysely;
    await ask('one', 'sealed');
    expect(errors['one']).toBeInstanceOf(VaultError);
    expect((errors['one'] as VaultError).reason).toBe('sealed');
  });
});
