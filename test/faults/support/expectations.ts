import { waitFor } from '../../support/wait-for.js';
import { serveNext } from './inject-fault.js';
import { judge, type Saved } from './judge.js';
import { POOL_SIZE, type Answer, type LibraryWorld } from './world.js';

const CLOSE_LIMIT_MS = 6_000;

/**
 * Demands that what is saved is what the clients were answered, each row in its own transaction.
 *
 * @returns how many rows there are
 */
export async function expectSaved(
  { faultDatabase, scenario }: LibraryWorld,
  answers: readonly Answer[],
  saved: Saved,
): Promise<number> {
  const rows = await faultDatabase.rows();
  expect(judge(rows, answers, scenario, saved)).toEqual([]);
  return rows.length;
}

/** No slot of the pool is lost, and the server has no open transaction of the application. */
export async function expectIdle(world: LibraryWorld): Promise<void> {
  await waitFor(() => world.pool().checkedOut + world.pool().waiting === 0, {
    what: `all connections to be back, now ${JSON.stringify(world.pool())}`,
  });
  await world.faultDatabase.until(
    'xact_start is not null',
    'no open transaction',
    (count) => count === 0,
  );
}

/** The next 5 requests are answered at once, and their rows are there. */
export async function expectServing(world: LibraryWorld): Promise<void> {
  await world.faultDatabase.clear();
  world.scenario.reset();
  const answers = await serveNext(world);
  expect(answers.map(({ status, errorBody }) => ({ status, errorBody }))).toEqual(
    answers.map(() => ({ status: 200, errorBody: undefined })),
  );
  expect(await expectSaved(world, answers, 'as answered')).toBe(POOL_SIZE);
  await expectIdle(world);
}

/** `app.close()` returns, and leaves no connection on the server. */
export async function expectClosing(world: LibraryWorld): Promise<void> {
  const startedAt = performance.now();
  await world.app.close();
  expect(performance.now() - startedAt).toBeLessThan(CLOSE_LIMIT_MS);
  await world.faultDatabase.until(
    'true',
    'no connection of the application',
    (count) => count === 0,
  );
}
