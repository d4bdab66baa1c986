/**
 * Counts what a unit of work takes that waits for a connection, as a process with `--expose-gc`:
 * `waiting.server.js <side>`. It sends {@link WaitingCounts}.
 *
 * It works on canned answers, and has one read in each unit. All connections of the pool are held meanwhile. By hand it waits
 * with BEGIN, and with the library with the read, unless it is to begin before.
 */
import { createHook } from 'node:async_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { POOL_SIZE } from '../app/orm.js';
import type { Side } from '../growth/curve.js';
import { openHandWritten } from '../growth/work/hand-written.stand.js';
import { openLibrary } from '../growth/work/library.stand.js';
import { heapUsed } from '../growth/work/memory.js';
import { databaseOptions } from '../growth/work/stand-options.js';
import { CANNED_DATABASE } from '../machinery/canned-socket.js';
import type { WaitingCounts } from './waiting.js';

const WAITING = 1_000;
const COUNTED = 100;
/** Turns of the event loop after which each unit waits that has begun before. */
const TURNS = 10;

const [side] = process.argv.slice(2) as [Side];
const stand = await (side === 'library' ? openLibrary : openHandWritten)(
  databaseOptions(CANNED_DATABASE, 1),
);
const [Account] = stand.accounts;
const read = (): Promise<unknown> => stand.run((em) => em.findOneOrFail(Account!, 1));
const beginAndRead = (): Promise<unknown> =>
  stand.run(async (em) => {
    if (stand.side === 'library') {
      await em.begin();
    }
    return em.findOneOrFail(Account!, 1);
  });

async function turns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    await nextTurn();
  }
}

/** Lets so many units wait at the same time, and looks while they do. */
async function whileWaiting<T>(
  count: number,
  look: () => Promise<T>,
  unit: () => Promise<unknown> = read,
): Promise<T> {
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const holding = Array.from({ length: POOL_SIZE }, () =>
    stand.run(async (em) => {
      await em.findOneOrFail(Account!, 1);
      await over;
    }),
  );
  await turns();
  let served = 0;
  const waiting = Array.from({ length: count }, () => unit().then(() => served++));
  await turns();
  const seen = await look();
  if (served > 0) {
    throw new Error(`${served} units of work have not waited`);
  }
  end();
  await Promise.all([...holding, ...waiting]);
  return seen;
}

/** The heap that each takes while it waits. */
async function bytesEach(unit: () => Promise<unknown>): Promise<number> {
  // What is made only once is made by the first ones.
  await whileWaiting(WAITING, turns, unit);
  const none = await whileWaiting(0, heapUsed);
  return ((await whileWaiting(WAITING, heapUsed, unit)) - none) / WAITING;
}

/** The promises of so many, from the beginning of the first to the end of the last. */
async function promisesOf(count: number): Promise<number> {
  let promises = 0;
  const counting = createHook({
    init: (_, type) => {
      promises += type === 'PROMISE' ? 1 : 0;
    },
  });
  counting.enable();
  await whileWaiting(count, turns);
  counting.disable();
  return promises;
}

const bytes = await bytesEach(read);
const bytesAtBegin = await bytesEach(beginAndRead);
const promises = (await promisesOf(2 * COUNTED)) - (await promisesOf(COUNTED));
await stand.close();
const counts: WaitingCounts = { promises: promises / COUNTED, bytes, bytesAtBegin };
process.send!(counts, () => process.exit(0));
