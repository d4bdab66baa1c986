import { waitFor } from '../../support/wait-for.js';
import type { SavedRow } from './fault-database.js';
import { ordinary, POOL_SIZE, type Answer, type FaultWorld } from './world.js';

const CLOSE_LIMIT_MS = 6_000;

/** Which rows of the requests are to be there. */
export type Saved =
  /** Those of requests that were told of a success, and no other. */
  | 'as answered'
  | 'nothing'
  /** All rows, whatever the clients were answered. */
  | 'all'
  /** Of each request either all or nothing: nobody can know. */
  | 'all or nothing';

/** Demands that what is saved is what the clients were told, each row in its own transaction. */
export async function expectSaved(
  world: FaultWorld,
  answers: readonly Answer[],
  saved: Saved,
): Promise<number> {
  const rows = await world.faultDatabase.rows();
  for (const { key, status } of answers) {
    const texts = rows.filter((row) => row.key === key).map(({ text }) => text);
    const promised = world.scenario.written.get(key) ?? [];
    const isSuccess = status >= 200 && status < 300;
    // Never a success for lost work, whatever else the fault may do.
    if (isSuccess || saved === 'all' || (saved === 'all or nothing' && texts.length > 0)) {
      expect({ key, texts }).toEqual({ key, texts: promised });
    } else {
      expect({ key, texts }).toEqual({ key, texts: [] });
    }
  }
  if (saved === 'nothing') {
    expect(rows).toEqual([]);
  }
  expectOwnTransactions(world, answers, rows);
  return rows.length;
}

/** No row lies in a transaction of another request, or in one of its own (autocommit). */
function expectOwnTransactions(
  world: FaultWorld,
  answers: readonly Answer[],
  rows: readonly SavedRow[],
): void {
  const known = new Set(answers.map(({ key }) => key));
  expect(rows.filter(({ key }) => !known.has(key))).toEqual([]);
  const owners = new Map<string, string>();
  for (const { key, xid } of rows) {
    expect({ xid, owner: owners.get(xid) ?? key }).toEqual({ xid, owner: key });
    owners.set(xid, key);
    const seen = world.scenario.transactions.get(key);
    if (seen !== undefined) {
      expect({ key, xid: seen.has(xid) ? 'its own' : xid }).toEqual({ key, xid: 'its own' });
    }
  }
  for (const { key } of answers) {
    const xids = new Set(rows.filter((row) => row.key === key).map(({ xid }) => xid));
    expect({ key, isOne: xids.size <= 1 }).toEqual({ key, isOne: true });
  }
}

/** No slot of the pool is lost, and the server has no open transaction of the application. */
export async function expectIdle(world: FaultWorld): Promise<void> {
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
export async function expectServing(world: FaultWorld): Promise<void> {
  await world.faultDatabase.clear();
  world.scenario.reset();
  world.scenario.handler = ordinary;
  world.scenario.beforeHandler = undefined;
  const answers = await Promise.all(
    Array.from({ length: POOL_SIZE }, (_, index) => world.ask(`after-${index}`)),
  );
  expect(answers.map(({ status, errorBody }) => ({ status, errorBody }))).toEqual(
    answers.map(() => ({ status: 200, errorBody: undefined })),
  );
  expect(await expectSaved(world, answers, 'as answered')).toBe(POOL_SIZE);
  await expectIdle(world);
}

/** `app.close()` returns, and leaves no connection on the server. */
export async function expectClosing(world: FaultWorld): Promise<void> {
  const startedAt = Date.now();
  await world.app.close();
  expect(Date.now() - startedAt).toBeLessThan(CLOSE_LIMIT_MS);
  await world.faultDatabase.until(
    'true',
    'no connection of the application',
    (count) => count === 0,
  );
}
