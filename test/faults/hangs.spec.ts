import { EventType, type TransactionEventType } from '@mikro-orm/core';
import type { DbContextOptions } from 'nestjs-db-context';

import { TIMED_OUT, withinLimit } from '../../lib/connection/time-limit.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { waitFor } from '../support/wait-for.js';
import { describeFaults, useFaultDatabase, type Fault } from './support/describe-faults.js';
import { expectIdle, expectSaved } from './support/expectations.js';
import { ordinary, type Handler } from './support/scenario.js';
import { IS_FULL, TIMES } from './support/times.js';
import type { Answer, LibraryWorld } from './support/world.js';

/** What nobody ever settles; except at the end of a test, so that nothing is left of it. */
let never: Deferred<void>;
let isHanging = false;
let reached: number;
const hang = (): void => {
  never = deferred();
  isHanging = true;
  reached = 0;
};
const release = (): void => {
  isHanging = false;
  never.resolve();
};
const hangOnce = async (): Promise<void> => {
  if (isHanging) {
    reached++;
    await never.promise;
  }
};

const hangs = (): Handler => async (work) => {
  await work.write('first');
  await hangOnce();
  await work.write('second');
};
const subscribe = (world: LibraryWorld, event: TransactionEventType): void => {
  world
    .connection()
    .orm.em.getEventManager()
    .registerSubscriber({ [event]: hangOnce });
};

// Far beyond every limit that these applications set.
const ANSWER_LIMIT_MS = 1_500;
/** Each takes all of its time; a short run looks at one of them. */
const some = (all: readonly Obstacle[]): readonly Obstacle[] => (IS_FULL ? all : all.slice(0, 1));

/** While all of them still hang: their slots are free, and others are served. */
const servesOthers = async (world: LibraryWorld): Promise<void> => {
  await waitFor(() => reached >= TIMES, { what: 'all requests to hang', timeoutMs: 30_000 });
  await expectIdle(world);
  const { handler } = world.scenario;
  world.scenario.handler = ordinary;
  isHanging = false;
  const others = await Promise.all(
    Array.from({ length: 5 }, (_, index) => world.ask(`other-${index}`)),
  );
  expect(others.map(({ status }) => status)).toEqual(others.map(() => 200));
  world.scenario.handler = handler;
  await world.faultDatabase.clear();
};
const thenRelease = async (world: LibraryWorld): Promise<void> => {
  await servesOthers(world);
  release();
};

const handlers: readonly Fault[] = [
  {
    title: 'F1, F6: a handler that hangs loses its slot at transactionTimeoutMs',
    limits: { transactionTimeoutMs: 1_500 },
    arrange: hang,
    handler: hangs,
    meanwhile: thenRelease,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F6: a handler that hangs loses its slot at transactionTimeoutMs (Fastify)',
    adapter: 'fastify',
    limits: { transactionTimeoutMs: 1_500 },
    arrange: hang,
    handler: hangs,
    meanwhile: thenRelease,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
  {
    isVariant: true,
    title: 'F1, F6: a handler that hangs and has nothing more to write is not a success',
    limits: { transactionTimeoutMs: 1_500 },
    arrange: hang,
    handler: () => async (work) => {
      await work.write('first');
      await hangOnce();
    },
    meanwhile: thenRelease,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
];

type Obstacle = readonly [string, Pick<Fault, 'arrange' | 'handler' | 'options'>];
const writes = (): Handler => (work) => work.write('row');
const subscriberOf = (event: TransactionEventType): Obstacle => [
  `a subscriber of ${event}`,
  {
    arrange: (world) => {
      hang();
      subscribe(world, event);
    },
    handler: writes,
  },
];

/** What can hang before a COMMIT: while the handler runs ... */
const inHandler: readonly Obstacle[] = [
  ['a handler', { arrange: hang, handler: hangs }],
  subscriberOf(EventType.beforeTransactionStart),
  subscriberOf(EventType.afterTransactionStart),
];
/** ... and after it has returned. */
const inSettlement: readonly Obstacle[] = [
  subscriberOf(EventType.beforeTransactionCommit),
  [
    'the option beforeCommit',
    { arrange: hang, options: { beforeCommit: hangOnce }, handler: writes },
  ],
  [
    'a beforeCommit hook',
    {
      arrange: hang,
      handler: (world) => async (work) => {
        await work.write('row');
        world.dbContext.beforeCommit(hangOnce);
      },
    },
  ],
];

const withContextLimit = inHandler.map(([name, { options, ...fault }]): Fault => ({
  ...fault,
  title: `F1, F6: ${name} that never returns is answered at contextTimeoutMs`,
  options: { ...options, contextTimeoutMs: 1_000, shutdownTimeoutMs: 300 },
  heal: release,
  answers: ['503 ServiceUnavailableException', '503 ContextTimeoutError'],
  saved: 'nothing',
}));

describeFaults('handlers that hang', handlers);
describeFaults('contexts that hang', withContextLimit);

describe('faults: hooks that hang, without contextTimeoutMs', () => {
  // Before the application is closed, which is what some of these would hold up.
  afterEach(() => release());
  const current = useFaultDatabase();

  it.each(some([...inHandler, ...inSettlement]))(
    'F1, F6: %s that never returns holds no slot',
    async (_, fault) => {
      const world = await current.start({
        limits: { transactionTimeoutMs: 500 },
        options: { ...fault.options, shutdownTimeoutMs: 300 },
      });
      await fault.arrange?.(world);
      world.scenario.handler = fault.handler(world);
      const asked = Array.from({ length: TIMES }, (_each, index) => world.ask(`key-${index}`));
      await servesOthers(world);
      release();
      await expectSaved(world, await Promise.all(asked), 'as answered');
    },
    60_000,
  );

  it.each(some(inSettlement))(
    'F6: %s that never returns is answered at contextTimeoutMs',
    async (_, fault) => {
      const { answer } = await hangOne(fault, { contextTimeoutMs: 300 });
      expect(await withinLimit(answer, ANSWER_LIMIT_MS)).toMatchObject({ status: 503 });
    },
  );

  it.each(some(inSettlement))(
    'H3, F6: app.close() returns although %s never does',
    async (_, fault) => {
      const { world } = await hangOne(fault, { shutdownTimeoutMs: 300 });
      expect(await withinLimit(world.app.close(), ANSWER_LIMIT_MS)).not.toBe(TIMED_OUT);
    },
  );

  it.each(some(inSettlement))(
    'F6: the request of %s that never returns is answered after transactionTimeoutMs',
    async (_, fault) => {
      const { answer } = await hangOne(fault, {});
      expect(await withinLimit(answer, ANSWER_LIMIT_MS)).toMatchObject({ status: 500 });
    },
  );

  it.each(some(inHandler.slice(1)))(
    'F6: the statement that waits for %s has a limit',
    async (_, fault) => {
      const { answer } = await hangOne(fault, {});
      expect(await withinLimit(answer, ANSWER_LIMIT_MS)).toMatchObject({ status: 500 });
    },
  );

  async function hangOne(
    fault: Obstacle[1],
    options: DbContextOptions,
  ): Promise<{ readonly world: LibraryWorld; readonly answer: Promise<Answer> }> {
    const world = await current.start({
      limits: { transactionTimeoutMs: 300, acquireTimeoutMs: 300 },
      options: { shutdownTimeoutMs: 300, ...fault.options, ...options },
    });
    await fault.arrange?.(world);
    world.scenario.handler = fault.handler(world);
    const answer = world.ask('key-0');
    await waitFor(() => reached > 0, { what: 'the request to hang' });
    return { world, answer };
  }
});
