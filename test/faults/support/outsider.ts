import { Client } from 'pg';

import { waitFor } from '../../support/wait-for.js';
import type { Work } from './scenario.js';
import type { LibraryWorld } from './world.js';

/** Changes a row that all requests could want. */
export async function bump(work: Work, id: number): Promise<void> {
  await work.session.execute('update counter set value = value + 1 where id = ?', [id]);
}

/** Two rows of `counter` that only one request wants. */
function ownPair({ key }: Work): readonly [number, number] {
  const number = Number(key.slice(key.lastIndexOf('-') + 1));
  return [2 * number + 1, 2 * number + 2];
}

/** The deadlock is to hit the request: the server ends the one that looks for deadlocks first. */
export async function makeImpatient(world: LibraryWorld): Promise<void> {
  await world.faultDatabase.setServer('deadlock_timeout', '20ms');
}

/** Has the request meet somebody else in a deadlock. */
export async function meetInDeadlock(world: LibraryWorld, work: Work): Promise<void> {
  const [own, other] = ownPair(work);
  const { pid } = await work.look();
  await bump(work, own);
  const outsider = await connect(world);
  await outsider.query(`set deadlock_timeout = '60s'; begin`);
  await outsider.query('update counter set value = -1 where id = $1', [other]);
  const blocked = outsider.query('update counter set value = -1 where id = $1', [own]);
  // It gets its lock as the request is rolled back, which is after the handler has failed.
  world.scenario.leave(
    work.key,
    Promise.allSettled([blocked]).then(() => outsider.end()),
  );
  await waitFor(async () => (await blockedBy(world, pid)) === 1, {
    what: 'the outsider to wait for the request',
  });
  await bump(work, other);
}

/** Has somebody else change what the request has read, and then change it itself. */
export async function meetInUpdate(world: LibraryWorld, work: Work): Promise<void> {
  const [own] = ownPair(work);
  await work.session.execute('select value from counter where id = ?', [own]);
  await world.faultDatabase.database.query('update counter set value = -1 where id = $1', [own]);
  await bump(work, own);
}

/** Write skew: each changes what the other has read; the server finds out at the COMMIT. */
export async function meetInWriteSkew(world: LibraryWorld, work: Work): Promise<void> {
  const [own, other] = ownPair(work);
  await work.session.execute('select value from counter where id = ?', [own]);
  await bump(work, other);
  const outsider = await connect(world);
  try {
    await outsider.query('begin isolation level serializable');
    await outsider.query('select value from counter where id = $1', [other]);
    await outsider.query('update counter set value = -1 where id = $1', [own]);
    await outsider.query('commit');
  } finally {
    await outsider.end();
  }
}

/** Locks a row until the returned function is called. */
export async function lockRow(world: LibraryWorld, id: number): Promise<() => Promise<void>> {
  const outsider = await connect(world);
  await outsider.query('begin');
  await outsider.query('select from counter where id = $1 for update', [id]);
  return () => outsider.end();
}

async function connect(world: LibraryWorld): Promise<Client> {
  const outsider = new Client({ connectionString: world.faultDatabase.database.url });
  await outsider.connect();
  return outsider;
}

async function blockedBy(world: LibraryWorld, pid: number): Promise<number> {
  const waiting = await world.faultDatabase.database.query(
    'select from pg_stat_activity where $1 = any (pg_blocking_pids(pid))',
    [pid],
  );
  return waiting.length;
}
