import { once } from 'node:events';
import { get, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { json } from 'node:stream/consumers';

import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';
import { describeFaults, record, useFaultDatabase, type Fault } from './support/describe-faults.js';
import type { ErrorBody } from './support/error-body.filter.js';
import { expectClosing, expectIdle, expectServing } from './support/expectations.js';
import { IS_FULL, TIMES } from './support/times.js';
import { noAnswer, POOL_SIZE, type Answer, type LibraryWorld } from './support/world.js';

const CROWD = IS_FULL ? 5_000 : 300;
/** How many connect at once; half of what the queue of a listening socket takes in Node. */
const WAVE = 250;
/** On a busy machine a crowd takes minutes, and only the wait for a connection is to have an end. */
const CROWD_MS = 600_000;

const faults: readonly Fault[] = [
  {
    title: 'F1, F6: a pool that is exhausted',
    limits: { poolMax: 1, acquireTimeoutMs: 1_500 },
    handler: (world) => async (work) => {
      await work.write('row');
      await work.scenario.point('all have waited').promise;
      expect(world.pool().checkedOut).toBe(1);
    },
    meanwhile: async (world) => {
      await waitFor(() => world.pool().waiting === TIMES - 1, { what: 'the others to wait' });
      await waitFor(() => world.pool().waiting === 0, { what: 'the others to give up' });
      world.scenario.point('all have waited').resolve();
    },
    answers: ['200', '500 AcquireTimeoutError'],
    saved: 'as answered',
    afterwards: (_, answers) => {
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    },
  },
  {
    title: 'F1, F6: a pool that deadlocks against itself',
    limits: { poolMax: 2, acquireTimeoutMs: 20_000, deadlockTimeoutMs: 100 },
    handler: (world) => async (work) => {
      await work.look();
      await work.write('outer');
      await world.dbContext.newAtomicSession(async (em) => {
        // The read is in a transaction of its own, not in that of the request.
        await em.find(Note, { text: 'none' });
      });
    },
    answers: ['200', '500 PoolDeadlockError'],
    saved: 'as answered',
  },
];

describeFaults('load, small pools', faults);

describe('faults: load, a crowd', () => {
  const current = useFaultDatabase();

  it(`F1, S1: ${CROWD} requests at once over a pool of ${POOL_SIZE}: none is lost`, async () => {
    const world = await current.start({
      limits: { acquireTimeoutMs: CROWD_MS, transactionTimeoutMs: CROWD_MS },
    });
    world.scenario.handler = async (work) => {
      await work.look();
      await work.write('row');
    };
    const answers = await askAtOnce(world);
    await expectIdle(world);
    await record(world, `${CROWD} requests at once`, answers);
    expect(answers.filter(({ status }) => status === 0)).toEqual([]);
    const served = answers.filter(({ status }) => status === 200).length;
    expect(await expectCrowdSaved(world, answers)).toBe(served);
    expect(served).toBeGreaterThan(0);
    expect(world.pool().size).toBe(POOL_SIZE);
    await expectServing(world);
    await expectClosing(world);
  }, 630_000);

  it(`F1, S1: ${CROWD} requests at once that cannot all be served: each gets an error that says so`, async () => {
    const world = await current.start({
      // Enough for a handshake on a busy machine, and far less than the crowd would take.
      limits: { acquireTimeoutMs: 400, transactionTimeoutMs: CROWD_MS },
    });
    world.scenario.handler = async (work) => {
      await work.look();
      await work.write('row');
      await work.session.execute('select pg_sleep(0.02)');
    };
    const answers = await askAtOnce(world);
    await expectIdle(world);
    await record(world, `${CROWD} requests at once, short wait`, answers);
    const errors = new Set(answers.map(({ errorBody }) => errorBody?.error));
    errors.delete(undefined);
    expect([...errors]).toEqual(['AcquireTimeoutError']);
    await expectCrowdSaved(world, answers);
    await expectServing(world);
    await expectClosing(world);
  }, 630_000);

  /** All requests are with the server before the first is answered, or nearly so. */
  async function askAtOnce({ url, app }: LibraryWorld): Promise<Answer[]> {
    const server: Server = app.getHttpServer();
    // A connection waits for its request until all of them are there, which Node would take for an attack.
    server.headersTimeout = 0;
    const sockets = await connectAll(server);
    const ask = (socket: Socket, key: string): Promise<Answer> =>
      new Promise((resolve) => {
        const fail = (error: Error): void => resolve(noAnswer(key, error));
        const createConnection = (): Socket => socket;
        // No `agent`, not even `false`: an agent opens a connection of its own beside the one given here.
        get(`${url}/promise/${key}`, { createConnection }, (response) => {
          const status = response.statusCode ?? 0;
          json(response).then(
            (body) =>
              resolve({
                key,
                status,
                value: undefined,
                errorBody: status < 300 ? undefined : (body as ErrorBody),
              }),
            fail,
          );
        }).on('error', fail);
      });
    return Promise.all(sockets.map((socket, index) => ask(socket, `key-${index}`)));
  }

  /**
   * In waves: the queue of a listening socket is short, and the process accepts slowly while it connects.
   * The kernel answers for a connection in the queue, and resets one that found no place in it, later on.
   */
  async function connectAll(server: Server): Promise<Socket[]> {
    const { port } = server.address() as AddressInfo;
    let accepted = 0;
    server.on('connection', () => accepted++);
    const sockets: Socket[] = [];
    while (sockets.length < CROWD) {
      const wave = Array.from({ length: Math.min(WAVE, CROWD - sockets.length) }, () =>
        connect({ port, host: '127.0.0.1' }),
      );
      sockets.push(...wave);
      await Promise.all(wave.map((socket) => once(socket, 'connect')));
      await waitFor(() => accepted === sockets.length, { what: 'the server to accept a wave' });
    }
    return sockets;
  }

  /** As `expectSaved()`, which looks at each of them by itself, at once. */
  async function expectCrowdSaved(
    world: LibraryWorld,
    answers: readonly Answer[],
  ): Promise<number> {
    const rows = await world.faultDatabase.rows();
    const served = answers.filter(({ status }) => status === 200).map(({ key }) => key);
    expect(rows.map(({ key }) => key).toSorted()).toEqual(served.toSorted());
    const own = rows.filter(
      ({ key, xid }) => world.scenario.transactions.get(key)?.has(xid) === true,
    );
    expect(own).toHaveLength(rows.length);
    expect(new Set(rows.map(({ xid }) => xid)).size).toBe(rows.length);
    return rows.length;
  }
});
