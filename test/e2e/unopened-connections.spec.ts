/** A pool whose slots are taken up by attempts to connect that the server does not answer. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { AcquireTimeoutError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const TIMEOUT_MS = 200;

let database: TestDatabase;
let at: TestApp;
let gate: Server;
/** How many connections are let through to the server; it never answers the others. */
let open: number;
const sockets = new Set<Socket>();

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  const { hostname, port } = new URL(database.url);
  gate = createServer((client) => {
    sockets.add(client.on('error', () => undefined));
    if (open > 0) {
      open--;
      const server = connect(Number(port), hostname);
      sockets.add(server.on('error', () => undefined));
      client.pipe(server).pipe(client);
    }
  }).listen(0, '127.0.0.1');
  await once(gate, 'listening');
});
afterAll(async () => {
  gate.close();
  await database.drop();
});
beforeEach(async () => {
  const url = new URL(database.url);
  url.host = `127.0.0.1:${(gate.address() as AddressInfo).port}`;
  at = await startApp({
    connections: [noteConnection(url.href, { poolMax: 2, acquireTimeoutMs: TIMEOUT_MS })],
  });
});
afterEach(async () => {
  sockets.forEach((socket) => socket.destroy());
  sockets.clear();
  await at.close();
});

const find = (name: string): Promise<unknown> =>
  at.dbContext.runInNewContext(() => at.session().find(Note, {}), { name });
/** What callers are told that come at the same time. */
const messagesOf = async (...names: readonly string[]): Promise<readonly string[]> => {
  const outcomes = await Promise.allSettled(names.map((name) => find(name)));
  return outcomes.map((outcome) => {
    const { reason } = outcome as { reason: AcquireTimeoutError };
    const { constructor, code, connectionName, message } = reason;
    expect({ constructor, code, connectionName, message }).toEqual({
      constructor: AcquireTimeoutError,
      code: 'ACQUIRE_TIMEOUT',
      connectionName: 'default',
      message: expect.any(String),
    });
    return message.split('\nSee ')[0]!;
  });
};

const NONE =
  'The server has opened none of them; look whether it can be reached and answers a login.';

it('F6: those that wait behind them are told so, and not that the pool is too small', async () => {
  open = 0;
  // An attempt that its pool has just given up is none that is not yet opened, nor in use.
  for (const round of [1, 2, 3]) {
    const messages = await messagesOf('a', 'b', 'c', 'd');
    messages.forEach((message, index) => {
      const name = ['a', 'b', 'c', 'd'][index];
      expect({ round, message }).toEqual({
        round,
        message: expect.stringMatching(
          new RegExp(
            `^(The server of "default" in the context of ${name} did not open a connection within 200 ms ` +
              '\\(pool of 2, 0 checked out(, [12] not yet opened)?, \\d waiting\\)\\. ' +
              'Look whether it can be reached and answers a login, or raise acquireTimeoutMs\\.' +
              `|No connection of "default" in the context of ${name} became free within 200 ms ` +
              `\\(pool of 2, 0 checked out(, [12] not yet opened)?, \\d waiting\\)\\. ${NONE})$`,
          ),
        ),
      });
    });
  }
});

it('F6: a claim whose time is over with that of the attempt made for it gets the error of its limit', async () => {
  open = 2;
  const pool = await at.connection().pool();
  const held = [await pool.connect(), await pool.connect()] as const;
  const all = messagesOf('third');
  while (pool.waitingCount === 0) {
    await nextTurn();
  }
  // The timer of an attempt counts from the turn of the event loop, that of a claim from some time into it.
  pool.options.connectionTimeoutMillis = TIMEOUT_MS - 50;
  const attempt = once(gate, 'connection');
  held[0].release(true);
  await attempt;
  pool.options.connectionTimeoutMillis = TIMEOUT_MS;
  expect(await all).toEqual([
    'The server of "default" in the context of third did not open a connection within 200 ms (pool of 2, ' +
      '1 checked out, 0 waiting). Look whether it can be reached and answers a login, or raise acquireTimeoutMs.',
  ]);
  held[1].release();
});

it('F6: so are those that wait behind some of them, and others that are in use', async () => {
  open = 1;
  await at.dbContext.run(async () => {
    await at.session().find(Note, {});
    const messages = await messagesOf('connecting', 'waiting');
    // Whichever of the two limits is over first, its caller waits no more as the other one counts.
    const [connecting, waiting] = messages.map((each) => each.replace(/, \d waiting\)/, ')'));
    expect(connecting).toBe(
      'The server of "default" in the context of connecting did not open a connection within 200 ms (pool of 2, ' +
        '1 checked out, 1 not yet opened). Look whether it can be reached and answers a login, or ' +
        'raise acquireTimeoutMs.',
    );
    expect(waiting).toBe(
      'No connection of "default" in the context of waiting became free within 200 ms (pool of 2, 1 checked ' +
        'out, 1 not yet opened). The server has not opened 1 of the 2; look whether it can be reached ' +
        'and answers a login, before you enlarge pool.max, shorten transactions, or raise acquireTimeoutMs.',
    );
  });
});

it('F6: where all are in use, the pool is too small', async () => {
  open = 2;
  await at.dbContext.run(async () => {
    await at.session().find(Note, {});
    await at.dbContext.runInNewContext(async () => {
      await at.session().find(Note, {});
      const [message] = await messagesOf('third');
      expect(message).toBe(
        'No connection of "default" in the context of third became free within 200 ms (pool of 2, 2 checked ' +
          'out, 1 waiting). Enlarge pool.max, shorten transactions, or raise acquireTimeoutMs.',
      );
    });
  });
});
