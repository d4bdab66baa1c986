import { EventEmitter, once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

import { Client, Pool } from 'pg';
import Cursor from 'pg-cursor';

import { destroyClientAfter } from '../../lib/connection/destroy-client.js';
import { preparePool } from '../../lib/connection/prepare-pool.js';
import { cancelBackend } from '../../lib/postgresql/cancel-request.js';
import type { LendableClient } from '../../lib/postgresql/lendable-client.js';
import {
  clientsOf,
  forgetPrepared,
  hasGivenUpConnecting,
  pendingOf,
  queueOf,
  removeFromPool,
  type PgClient,
  type PgPool,
} from '../../lib/postgresql/pg-client.js';
import { isServerError } from '../../lib/postgresql/server-errors.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { authentication } from '../support/backend-messages.js';
import { deferred } from '../support/deferred.js';

// What lib/postgresql/pg-client.ts takes for granted of `pg`. A failure here after an upgrade means
// that the library must be looked at, not this file.
describe('the part of pg that the library stands on', () => {
  let database: TestDatabase;
  let pool: Pool;
  let client: PgClient;

  beforeAll(async () => {
    database = await createTestDatabase();
    pool = new Pool({ connectionString: database.url, max: 3 });
    client = (await pool.connect()) as unknown as PgClient;
  });

  afterAll(async () => {
    await pool.end();
    await database.drop();
  });

  it('a pool has counters and a size', () => {
    const seen: PgPool = pool as unknown as PgPool;
    expect([seen.totalCount, seen.idleCount, seen.waitingCount, seen.options.max]).toEqual([
      1, 0, 0, 3,
    ]);
  });

  it('a pool makes a client that is not its own, as which it knows its password', async () => {
    const seen = pool as unknown as PgPool;
    const standalone = new seen.Client(seen.options);
    await standalone.connect();
    expect(await standalone.query('select 1 as a')).toMatchObject({ rows: [{ a: 1 }] });
    expect(standalone.password).toBe(decodeURIComponent(new URL(database.url).password));
    await standalone.end();
    expect([pool.totalCount, pool.idleCount]).toEqual([1, 0]);
  });

  it('a client knows its server, its cancel key and its TLS', () => {
    expect(client).toMatchObject({
      host: expect.any(String),
      port: expect.any(Number),
      processID: expect.any(Number),
      secretKey: expect.any(Number),
      ssl: false,
      sslNegotiation: 'postgres',
    });
    expect(typeof client.connection.stream.destroy).toBe('function');
  });

  it('the transaction status is that of the last answer', async () => {
    const statuses = [client.getTransactionStatus()];
    for (const sql of ['begin', 'select 1', 'select 1 / 0', 'select 1', 'rollback']) {
      await client.query(sql).catch(() => undefined);
      // after an error the status comes with the next answer at the latest
      statuses.push(client.getTransactionStatus());
    }
    expect(statuses.filter((_, index) => index !== 3)).toEqual(['I', 'T', 'T', 'E', 'I']);
  });

  it('COMMIT of a failed transaction is answered with ROLLBACK and no error', async () => {
    await client.query('begin');
    await client.query('select 1 / 0').catch(() => undefined);
    expect(await client.query('commit')).toMatchObject({ command: 'ROLLBACK' });
  });

  it('several statements in one string have several results', async () => {
    expect(await client.query('select 1 as a; select 2 as b')).toMatchObject([
      { command: 'SELECT', rows: [{ a: 1 }] },
      { command: 'SELECT', rows: [{ b: 2 }] },
    ]);
  });

  it('errors of the server differ from all others', async () => {
    const error = await client.query('select 1 / 0').catch((reason: unknown) => reason);
    expect(isServerError(error)).toBe(true);
    expect(isServerError(Object.assign(new Error('cut'), { code: 'EPIPE' }))).toBe(false);
    expect(isServerError(undefined)).toBe(false);
  });

  it('a pool makes its clients of the class that it has now, and connects them with a callback', async () => {
    const seen = new Pool({ connectionString: database.url, max: 1 });
    const before = (seen as unknown as PgPool).Client;
    preparePool(seen as unknown as PgPool);
    preparePool(seen as unknown as PgPool);
    const prepared = (seen as unknown as PgPool).Client;
    expect(Object.getPrototypeOf(prepared)).toBe(before);
    const given = await seen.connect();
    expect(given).toBeInstanceOf(prepared);
    given.release();
    await seen.end();
    const { hostname, port, username } = new URL(database.url);
    const refusing = new Pool({
      host: hostname,
      port: Number(port),
      user: username,
      database: database.name,
      password: () => Promise.reject(new RangeError('no password')),
    });
    preparePool(refusing as unknown as PgPool);
    const waiting = refusing.connect();
    const [connecting] = clientsOf(refusing as unknown as PgPool);
    await expect(waiting).rejects.toThrow('no password');
    expect(connecting!.connection.stream).toMatchObject({ destroyed: true });
    await refusing.end();
  });

  it('a client says when the server has answered everything, also what pg gives to an object', async () => {
    const lendable = client as LendableClient;
    const errors: unknown[] = [];
    const note = (error: unknown): unknown => errors.push(error);
    lendable.connection.on('errorMessage', note);
    expect(lendable.readyForQuery).toBe(true);
    const drained = deferred();
    lendable.once('drain', drained.resolve);
    const cursor = new Cursor('select 1 / 0');
    void lendable.query(cursor as never);
    expect(lendable.readyForQuery).toBe(false);
    await drained.promise;
    expect(lendable.readyForQuery).toBe(true);
    lendable.connection.off('errorMessage', note);
    expect(errors).toEqual([expect.objectContaining({ code: '22012' })]);
  });

  it('a client tells of its end', async () => {
    const standalone = new Client({ connectionString: database.url });
    await standalone.connect();
    const ended = deferred();
    (standalone as unknown as LendableClient).once('end', ended.resolve);
    await standalone.end();
    await ended.promise;
  });

  it('a connection emits the tags of commands, errors, and the parameters that the server reports', async () => {
    const seen: string[] = [];
    const events = client.connection as unknown as EventEmitter;
    events.on('commandComplete', ({ text }: { text: string }) => seen.push(text));
    events.on('errorMessage', () => seen.push('error'));
    events.on('readyForQuery', () => seen.push('ready'));
    events.on(
      'parameterStatus',
      ({ parameterName, parameterValue }: { parameterName: string; parameterValue: string }) =>
        seen.push(`${parameterName}=${parameterValue}`),
    );
    for (const sql of [
      'begin',
      `set local time zone 'Asia/Tokyo'`,
      'prepare left_behind as select 1',
      'declare left_behind cursor for select 1',
      'select 1 as a into temp left_behind',
      'select 1 / 0',
      'rollback',
      'discard all',
    ]) {
      await client.query(sql).catch(() => undefined);
    }
    const zone = seen.findLast((each) => each.startsWith('TimeZone='));
    events.removeAllListeners('parameterStatus');
    expect(seen.join(', ')).toBe(
      'BEGIN, ready, SET, TimeZone=Asia/Tokyo, ready, PREPARE, ready, DECLARE CURSOR, ready, ' +
        `SELECT 1, ready, error, ${zone}, ready, ROLLBACK, ready, DISCARD ALL, ready`,
    );
  });

  it('a client remembers what it has prepared, and can be made to forget it', async () => {
    const named = { name: 'one', text: 'select 1 as one' } as unknown as string;
    await client.query(named);
    await client.query('discard all');
    await expect(client.query(named)).rejects.toMatchObject({ code: '26000' });
    forgetPrepared(client);
    expect(await client.query(named)).toMatchObject({ rows: [{ one: 1 }] });
  });

  it('a pool tells of a new client before anybody gets it, with what listeners have sent', async () => {
    const seen = new Pool({ connectionString: database.url, max: 1 }) as unknown as PgPool;
    expect([seen.listenerCount('connect'), seen.options.onConnect]).toEqual([0, undefined]);
    const pending: number[] = [];
    seen.on('connect', (fresh) => {
      pending.push(pendingOf(fresh));
      void fresh.query('select 1');
      void fresh.query('select 2');
      pending.push(pendingOf(fresh));
    });
    const given = await seen.connect();
    await given.query('select 3');
    expect([...pending, pendingOf(given)]).toEqual([0, 2, 0]);
    given.release();
    await seen.end();
  });

  it('release(true) takes a client out of the pool', async () => {
    client.release(true);
    expect(pool.totalCount).toBe(0);
  });

  it('a pool that is to wait for no goodbye serves others at once, and the wire lives on', async () => {
    const seen = new Pool({ connectionString: database.url, max: 1 }) as unknown as PgPool;
    const given = await seen.connect();
    const failed = given.query('select pg_sleep(30)').catch((reason: unknown) => reason);
    const waiting = seen.connect();
    const settled = deferred();
    destroyClientAfter(given, settled.promise);
    const served = await waiting;
    expect(clientsOf(seen)).toEqual([served]);
    expect(await cancelBackend(given)).toBe(true);
    // It is heard what the server says of the statement.
    expect(await failed).toMatchObject({ code: '57014' });
    settled.resolve();
    served.release();
    await seen.end();
  });

  it('F1: what the parser cannot read is an error of the client, and throws at nobody', async () => {
    const seen = new Pool({ connectionString: database.url, max: 1 }) as unknown as PgPool;
    preparePool(seen);
    const prepared = seen.Client;
    preparePool(seen);
    expect(seen.Client).toBe(prepared);
    const given = await seen.connect();
    given.on('error', () => undefined);
    const failed = given.query('select pg_sleep(30)').catch((reason: unknown) => reason);
    const { stream } = given.connection as unknown as { stream: EventEmitter };
    stream.emit('data', authentication(99));
    expect(await failed).toEqual(new Error('Unknown authenticationOk message type 99'));
    given.release();
    await seen.end();
    expect(clientsOf(seen)).toEqual([]);
  });

  it('a pool can be made to wait for a client no longer, whose holder may give it back later', async () => {
    const seen = new Pool({ connectionString: database.url, max: 1 }) as unknown as PgPool;
    const held = await seen.connect();
    const ended = seen.end();
    removeFromPool(seen, held);
    await ended;
    expect([clientsOf(seen), seen.totalCount]).toEqual([[], 0]);
    held.release();
    await expect(held.query('select 1')).rejects.toThrow('Client was closed and is not queryable');
  });

  it('a pool shows who waits, and another one can serve them', async () => {
    const seen = new Pool({
      connectionString: database.url,
      max: 1,
      connectionTimeoutMillis: 5_000,
    }) as unknown as PgPool;
    const holder = await seen.connect();
    expect(clientsOf(seen)).toEqual([holder]);
    const waiting = seen.connect();
    const [place] = queueOf(seen).splice(0);
    expect([seen.waitingCount, place!.timedOut]).toEqual([0, undefined]);
    (pool as unknown as PgPool).connect(place!.callback);
    const served = await waiting;
    expect(clientsOf(pool as unknown as PgPool)).toContain(served);
    served.release();
    holder.release();
    await seen.end();
    expect(clientsOf(seen)).toEqual([]);
  });

  it('a pool refuses a place in the queue by its callback, and gives it up at once', async () => {
    const seen = new Pool({
      connectionString: database.url,
      max: 1,
      connectionTimeoutMillis: 60_000,
    }) as unknown as PgPool;
    const holder = await seen.connect();
    const waiting = seen.connect();
    const [place] = queueOf(seen).splice(0);
    place!.callback(new RangeError('left'), undefined, () => undefined);
    await expect(waiting).rejects.toEqual(new RangeError('left'));
    holder.release();
    expect([seen.waitingCount, seen.idleCount]).toEqual([0, 1]);
    await seen.end();
  });

  it('a place in the queue says that its time is over, wherever it is', async () => {
    const seen = new Pool({
      connectionString: database.url,
      max: 1,
      connectionTimeoutMillis: 100,
    }) as unknown as PgPool;
    const holder = await seen.connect();
    const waiting = seen.connect();
    const [place] = queueOf(seen).splice(0);
    await expect(waiting).rejects.toThrow('timeout exceeded');
    expect(place!.timedOut).toBe(true);
    holder.release();
    await seen.end();
  });

  it('a pool says of an attempt to connect that it has given it up', async () => {
    const silent = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const seen = new Pool({ host: '127.0.0.1', port, connectionTimeoutMillis: 50 });
    const error: unknown = await seen.connect().catch((refusal: unknown) => refusal);
    expect([error, hasGivenUpConnecting(error)]).toEqual([expect.any(Error), true]);
    silent.close();
    await once(silent, 'close');
    const refused: unknown = await seen.connect().catch((refusal: unknown) => refusal);
    expect([refused, hasGivenUpConnecting(refused)]).toEqual([
      expect.objectContaining({ code: 'ECONNREFUSED' }),
      false,
    ]);
    await seen.end();
  });

  it('Pool.query() goes by connect(), so that another pool can take it over', async () => {
    const seen = new Pool({ connectionString: 'postgres://127.0.0.1:1/none' });
    seen.connect = pool.connect.bind(pool);
    await seen.end();
    expect(await seen.query('select 1 as a')).toMatchObject({ rows: [{ a: 1 }] });
  });
});
