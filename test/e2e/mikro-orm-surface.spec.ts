import { AsyncLocalStorage } from 'node:async_hooks';
import type { EventEmitter } from 'node:events';

import { RequestContext, TransactionContext } from '@mikro-orm/core';
import { defineConfig, MikroORM } from '@mikro-orm/postgresql';

import {
  isPointed,
  ownServerOf,
  pointAt,
  replicasOf,
  type SqlConnection,
} from '../../lib/connection/mikro-orm-connection.js';
import type { PgPool } from '../../lib/postgresql/pg-client.js';
import { Note } from '../support/note.entity.js';

// What lib/connection/mikro-orm-connection.ts takes for granted of MikroORM's connection. Nothing
// connects here. A failure after an upgrade means that the library must be looked at, not this file.
describe('the part of MikroORM that changing hosts stands on', () => {
  const orms: Pick<MikroORM, 'close' | 'reconnect' | 'driver'>[] = [];
  const made: unknown[] = [];

  async function connectionWith(
    options: Parameters<typeof defineConfig>[0] = {},
  ): Promise<SqlConnection> {
    const orm = await MikroORM.init(
      defineConfig({
        clientUrl: 'postgres://me:secret@one:6432/app',
        ensureDatabase: false,
        entities: [Note],
        pool: { max: 3 },
        ...options,
      }),
    );
    orms.push(orm);
    return orm.driver.getConnection('write');
  }

  const optionsOf = async (connection: SqlConnection): Promise<Record<string, unknown>> => {
    const pool = (await connection.getNativeClient()) as { options: Record<string, unknown> };
    // The password is not enumerable.
    return { ...pool.options, password: pool.options['password'] };
  };

  afterEach(async () => {
    made.length = 0;
    await Promise.all(orms.splice(0).map((orm) => orm.close(true)));
  });

  it('a pool has one listener for new clients, which sends nothing', async () => {
    const pool = (await (await connectionWith()).getNativeClient()) as PgPool & EventEmitter;
    expect(pool.listenerCount('connect')).toBe(1);
    const heard: string[] = [];
    const client = {
      on: (event: string) => heard.push(event),
      query: () => heard.push('query'),
    };
    pool.emit('connect', client);
    expect(heard).toEqual(['error']);
  });

  it('the options of a connection say where it goes', async () => {
    const connection = await connectionWith();
    expect(ownServerOf(connection).logIn).toEqual({
      host: 'one',
      port: 6432,
      user: 'me',
      password: 'secret',
      database: 'app',
    });
    expect(isPointed(connection, undefined)).toBe(false);
  });

  it.each([
    ['host and port', { clientUrl: undefined as never, host: 'two', port: 5433, dbName: 'app' }],
    ['driverOptions', { driverOptions: { host: 'two', port: 5433 } }],
    ['a function', { driverOptions: (() => ({ host: 'two', port: 5433 })) as never }],
    ['a connectionString', { driverOptions: { connectionString: 'postgres://x@two:5433/b' } }],
  ])('so do %s', async (_what, options) => {
    const connection = await connectionWith(options);
    expect(ownServerOf(connection).logIn).toMatchObject({ host: 'two', port: 5433 });
  });

  it.each([
    ['plain options', { application_name: 'mine', ssl: false, host: 'zero' }],
    ['a function', () => ({ application_name: 'mine', ssl: false, host: 'zero' })],
    [
      'a listener',
      { application_name: 'mine', ssl: false, onPoolCreated: (pool: unknown) => made.push(pool) },
    ],
  ])('createKysely() makes a pool of the options, with %s', async (_what, driverOptions) => {
    const connection = await connectionWith({ driverOptions });
    const own = ownServerOf(connection);
    const before = await connection.getNativeClient();
    const kysely = connection.getClient();
    const pointed = pointAt(connection, 'default', own, { host: 'two', port: 5433 });

    expect(await connection.getNativeClient()).not.toBe(before);
    expect(connection.getClient()).not.toBe(kysely);
    expect(isPointed(connection, pointed)).toBe(true);
    expect(await optionsOf(connection)).toMatchObject({
      host: 'two',
      port: 5433,
      user: 'me',
      password: 'secret',
      database: 'app',
      max: 3,
      application_name: 'mine',
      ssl: false,
    });
    expect(made).toHaveLength('onPoolCreated' in driverOptions ? 2 : 0);

    pointAt(connection, 'default', own, { host: 'three', user: 'her', password: 'x' });
    expect(await optionsOf(connection)).toMatchObject({
      host: 'three',
      port: 6432,
      user: 'her',
      password: 'x',
      database: 'app',
    });
    pointAt(connection, 'default', own, { host: 'four' });
    expect(await optionsOf(connection)).toMatchObject({
      host: 'four',
      user: 'me',
      password: 'secret',
    });
    await (before as { end(): Promise<void> }).end();
  });

  it('the replicas are connections of their own, with what they do not say taken from the primary', async () => {
    const primary = await connectionWith({
      replicas: [{ host: 'two', port: 5433 }, { clientUrl: 'postgres://her:x@three:5434/app' }],
    });
    const replicas = replicasOf(orms[0]!) as unknown as SqlConnection[];
    expect(replicas.map((each) => ownServerOf(each).logIn)).toEqual([
      { host: 'two', port: 5433, user: 'me', password: 'secret', database: 'app' },
      { host: 'three', port: 5434, user: 'her', password: 'x', database: 'app' },
    ]);
    const pools = await Promise.all(
      [primary, ...replicas].map(async (each) => each.getNativeClient()),
    );
    expect(new Set(pools).size).toBe(3);
    expect(orms[0]!.driver.getConnection('write')).toBe(primary);
  });

  it('without replicas there is an empty list of them', async () => {
    await connectionWith();
    expect(replicasOf(orms[0]!)).toEqual([]);
  });

  it('a connectionString leaves no say in the host', async () => {
    const connection = await connectionWith({
      driverOptions: { connectionString: 'postgres://x@two:5433/b' },
    });
    const own = ownServerOf(connection);
    expect(() => pointAt(connection, 'audit', own, { host: 'two' })).toThrow(
      'The connection "audit" has a connectionString in driverOptions',
    );
    expect(isPointed(connection, own.driverOptions)).toBe(true);
  });

  it('options that make no pool are put back', async () => {
    let asked = 0;
    let isBroken = false;
    const connection = await connectionWith({
      driverOptions: () => {
        // The last time it is for the pool itself.
        if (isBroken && asked++ === 1) {
          throw new Error('broken');
        }
        return {};
      },
    });
    const own = ownServerOf(connection);
    const before = await connection.getNativeClient();
    const { driverOptions } = own;
    isBroken = true;
    expect(() => pointAt(connection, 'default', own, { host: 'two' })).toThrow('broken');
    isBroken = false;
    expect(ownServerOf(connection)).toEqual({ logIn: own.logIn, driverOptions });
    expect(await connection.getNativeClient()).toBe(before);
  });

  it('a reconnect forgets where the connection was pointed', async () => {
    const connection = await connectionWith();
    const pointed = pointAt(connection, 'default', ownServerOf(connection), { host: 'two' });
    await orms[0]!.reconnect();
    expect(isPointed(connection, pointed)).toBe(false);
    expect(ownServerOf(connection).logIn).toMatchObject({ host: 'one', port: 6432 });
  });
});

// What lib/session/request-context.ts takes for granted.
it.each([RequestContext, TransactionContext])(
  '%p keeps its own in a storage that can be set',
  (statics) => {
    const { storage } = statics as unknown as { readonly storage: AsyncLocalStorage<unknown> };
    expect(storage).toBeInstanceOf(AsyncLocalStorage);
    expect(storage.getStore()).toBeUndefined();
  },
);

it('RequestContext asks its own static method wherever it looks for the current one', () => {
  const before = Object.getOwnPropertyDescriptor(RequestContext, 'currentRequestContext')!;
  let asked = 0;
  RequestContext.currentRequestContext = () => {
    asked += 1;
    return undefined;
  };
  try {
    expect(RequestContext.getEntityManager()).toBeUndefined();
    expect(asked).toBe(1);
  } finally {
    Object.defineProperty(RequestContext, 'currentRequestContext', before);
  }
});
