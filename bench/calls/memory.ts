/**
 * Measures the heap of an open context, as a process with `--expose-gc`: `memory.js <url> <contexts>`. It
 * sends a list of {@link MemoryFigures}.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import { DbContext, getConnectionToken, type DbConnection } from 'nestjs-db-context';

import { startContextApp } from './context-app.js';
import type { MemoryFigures } from './figures.js';

const [databaseUrl, countText] = process.argv.slice(2) as [string, string];
const count = Number(countText);
const SETTLE_MS = 50;
const COLLECTIONS = 4;

const app = await startContextApp(databaseUrl);
const dbContext = app.get(DbContext);
const { orm } = app.get<DbConnection>(getConnectionToken());

async function heapUsed(): Promise<number> {
  for (let collection = 0; collection < COLLECTIONS; collection++) {
    globalThis.gc!();
    // Objects that a callback frees are free after this pause.
    await sleep(SETTLE_MS);
  }
  return process.memoryUsage().heapUsed;
}

/** Opens many of one kind at the same time, and measures what each takes. */
async function held(
  name: string,
  open: (until: Promise<void>) => Promise<unknown>,
): Promise<MemoryFigures> {
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const all: Promise<unknown>[] = Array.from({ length: count }, () => Promise.resolve());
  const before = await heapUsed();
  for (let index = 0; index < count; index++) {
    all[index] = open(over);
  }
  const after = await heapUsed();
  end();
  await Promise.all(all);
  return { name, bytesEach: (after - before) / count };
}

const ways: readonly (readonly [string, (until: Promise<void>) => Promise<unknown>])[] = [
  ['an async function that waits, with no context', async (until) => until],
  ['an open context that has not touched a session', (until) => dbContext.run(() => until)],
  [
    'an open context with an untouched session',
    (until) =>
      dbContext.run(async () => {
        dbContext.session().isInTransaction();
        await until;
      }),
  ],
  [
    'a fork of MikroORM alone, with no context',
    async (until) => {
      const fork = orm.em.fork();
      await until;
      return fork.id;
    },
  ],
];

const figures: MemoryFigures[] = [];
for (const [name, open] of ways) {
  // The first run is not counted: it also allocates what is made only once.
  await held(name, open);
  figures.push(await held(name, open));
}
await app.close();
process.send!(figures, () => process.exit(0));
