import { RawClient } from '../../support/raw-client.js';
import { waitFor } from '../../support/wait-for.js';
import type { Fault } from '../fault.js';
import { POOL_SIZE } from '../setup.js';
import type { Answer, World } from '../world.js';

const RELEASE = 'holders may go on';

/** Waits for an answer that never comes, as its handler does. */
const hang = (world: World): Promise<void> => world.scenario.point('never').promise;

/** Has its client leave while the handler runs. */
async function leave(world: World, key: string): Promise<Answer> {
  const client = await RawClient.get(`${world.url}/observable/${key}`);
  await waitFor(() => world.scenario.written.has(key), {
    what: 'the handler',
    timeoutMs: 3_000,
  }).catch(
    // Where all slots are lost it never begins.
    () => undefined,
  );
  await client.leave();
  await world.scenario.point(`${key} over`).promise;
  world.scenario.point(`${key} may go on`).resolve();
  return { key, status: 499, error: '(the client left)', value: undefined };
}

/** What those do who use a transaction: clients, handlers, and whoever waits for one. */
export const CALLER_FAULTS: readonly Fault[] = [
  {
    title: 'an exhausted pool',
    proofs: ['test/e2e/faults.spec.ts', 'test/faults/load.spec.ts'],
    limits: { acquireTimeoutMs: 500, transactionTimeoutMs: 60_000 },
    arrange: async (world) => {
      let holding = 0;
      world.scenario.handler = async (work) => {
        await work.write('row');
        holding++;
        await world.scenario.point(RELEASE).promise;
      };
      for (let each = 0; each < POOL_SIZE; each++) {
        world.scenario.leave(world.ask(`holder-${each}`, 30_000));
      }
      await waitFor(() => holding === POOL_SIZE, { what: 'the pool to be exhausted' });
    },
    handler: () => (work) => work.write('row'),
    stop: (world) => world.scenario.point(RELEASE).resolve(),
  },
  {
    title: 'a handler that never returns',
    proofs: ['test/faults/hangs.spec.ts'],
    limits: { transactionTimeoutMs: 500 },
    options: { contextTimeoutMs: 3_000 },
    handler: (world) => async (work) => {
      await work.write('row');
      await hang(world);
    },
  },
  {
    title: 'the client leaves, Observable handler in a hand-written interceptor',
    proofs: ['test/faults/client.spec.ts', 'test/e2e/http-disconnect.spec.ts'],
    unit: 'interceptor',
    ask: leave,
    handler: (world) => async (work) => {
      await work.write('row');
      if (work.key.startsWith('key')) {
        await world.scenario.point(`${work.key} may go on`).promise;
      }
    },
  },
  {
    title: 'two parallel `em.begin()` in one request',
    proofs: ['test/e2e/session.spec.ts'],
    unit: 'own',
    handler: () => async (work) => {
      await Promise.allSettled([work.em.begin(), work.em.begin()]);
      await work.write('row');
      await work.em.commit();
    },
  },
];
