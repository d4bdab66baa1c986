import type { EntityManager } from '@mikro-orm/postgresql';

import { deferred } from '../../support/deferred.js';
import { Http2Client } from '../../support/http2-client.js';
import { RawClient } from '../../support/raw-client.js';
import { waitFor } from '../../support/wait-for.js';
import { POOL_SIZE, type Answer, type World } from '../../faults/support/world.js';
import type { ComparedFault } from '../compared-fault.js';

const RELEASE = 'holders may go on';

/** Waits for an answer that never comes, as its handler does. */
const hang = (world: World): Promise<void> => world.scenario.point('never').promise;

/** Has its client leave while the handler runs. */
async function leave(
  world: World,
  key: string,
  client: { leave(): Promise<void> },
): Promise<Answer> {
  await waitFor(() => world.scenario.written.has(key), {
    what: 'the handler',
    timeoutMs: 3_000,
  }).catch(
    // Where all slots are lost it never begins.
    () => undefined,
  );
  await client.leave();
  await world.scenario.point(`${key} gone`).promise;
  world.scenario.point(`${key} may go on`).resolve();
  const error = '(the client left)';
  return {
    key,
    status: 499,
    errorBody: { error, origin: error, code: undefined, message: error, cause: undefined },
    value: undefined,
  };
}

async function leaveHttp1(world: World, key: string): Promise<Answer> {
  return leave(world, key, await RawClient.get(`${world.url}/observable/${key}`));
}

async function leaveHttp2(world: World, key: string): Promise<Answer> {
  const client = new Http2Client(world.url);
  const request = client.get(`/promise/${key}`);
  const answer = await leave(world, key, { leave: async () => request.reset() });
  await client.leave();
  return answer;
}

/** Has a transaction that no request began, and that never ends, hold a connection. */
async function holdTransaction(world: World): Promise<void> {
  const begun = deferred();
  const transaction = (world.orm.em.fork() as EntityManager).transactional(async (em) => {
    await em.execute('select 1');
    begun.resolve();
    await hang(world);
  });
  transaction.catch(() => undefined);
  await begun.promise;
}

/** What the users of a transaction do: clients, handlers, and requests that wait for one. */
export const CALLER_FAULTS: readonly ComparedFault[] = [
  {
    title: 'an exhausted pool',
    proofs: ['test/e2e/faults.spec.ts', 'test/faults/load.spec.ts'],
    limits: { acquireTimeoutMs: 500, transactionTimeoutMs: 60_000 },
    arrange: async (world) => {
      let holding = 0;
      world.scenario.handler = async (work) => {
        await work.insert('row');
        holding++;
        await world.scenario.point(RELEASE).promise;
      };
      for (let each = 0; each < POOL_SIZE; each++) {
        const key = `holder-${each}`;
        world.scenario.leave(key, world.ask(key, { limitMs: 30_000 }));
      }
      await waitFor(() => holding === POOL_SIZE, { what: 'the pool to be exhausted' });
    },
    handler: () => (work) => work.insert('row'),
    heal: (world) => world.scenario.point(RELEASE).resolve(),
  },
  {
    title: 'a handler that never returns',
    proofs: ['test/faults/hangs.spec.ts'],
    limits: { transactionTimeoutMs: 500 },
    options: { contextTimeoutMs: 3_000 },
    handler: (world) => async (work) => {
      await work.insert('row');
      await hang(world);
    },
  },
  {
    title: 'the client leaves, Observable handler in a hand-written interceptor',
    proofs: ['test/faults/client.spec.ts', 'test/e2e/http-disconnect.spec.ts'],
    unit: 'interceptor',
    ask: leaveHttp1,
    handler: (world) => async (work) => {
      await work.insert('row');
      if (work.key.startsWith('key')) {
        await world.scenario.point(`${work.key} may go on`).promise;
      }
    },
  },
  {
    title: 'HTTP/2 streams reset by their clients, whose work is to be undone (`onDisconnect`)',
    proofs: ['test/e2e/http2-disconnect.spec.ts'],
    isHttp2: true,
    options: { onDisconnect: 'rollback' },
    ask: leaveHttp2,
    handler: (world) => async (work) => {
      await work.insert('first');
      await world.scenario.point(`${work.key} may go on`).promise;
      await work.insert('second');
    },
  },
  {
    title: '`app.close()` while a transaction of `orm.em` hangs',
    proofs: ['test/e2e/shutdown-clients.spec.ts'],
    handler: () => (work) => work.insert('row'),
    beforeClose: holdTransaction,
  },
  {
    title: 'two parallel `em.begin()` in one request',
    proofs: ['test/e2e/session.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await Promise.allSettled([work.session.begin(), work.session.begin()]);
      await work.insert('row');
      await work.session.commit();
    },
  },
];
