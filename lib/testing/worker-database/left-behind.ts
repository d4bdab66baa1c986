import { setTimeout as sleep } from 'node:timers/promises';

import { tryLock, unlock } from './advisory-locks.js';
import { isGone, type DatabaseHolder } from './database-holder.js';
import type { RunSql } from './database-link.js';

/**
 * How long a holder that has lost its connection, and so its lock, is given to take it again, in
 * milliseconds: longer than the longest wait between two of its attempts.
 */
const GRACE_MS = 1_000;
/** How often clients are looked for while they may still be leaving, in milliseconds. */
const POLL_MS = 25;

/** Clients; what a role may not see of them is null. Workers of the server have no user. */
const HAS_CLIENTS = `
  select exists (
    select from pg_stat_activity where datname = $1 and usesysid is not null
      and coalesce(backend_type, 'client backend') = 'client backend'
  ) as found`;

/** Whether somebody is connected to a database. */
export async function hasClients(run: RunSql, name: string): Promise<boolean> {
  const [row] = await run(HAS_CLIENTS, [name]);
  return row!['found'] as boolean;
}

/** Waits until nobody is connected to a database; clients that were closed a moment ago take a little. */
export async function isLeftByClients(run: RunSql, name: string): Promise<boolean> {
  const until = performance.now() + GRACE_MS;
  let isUsed = await hasClients(run, name);
  while (isUsed && performance.now() < until) {
    await sleep(POLL_MS);
    isUsed = await hasClients(run, name);
  }
  return !isUsed;
}

/** Gives holders that have lost their connections the time to take their locks again. */
export async function giveTime(): Promise<void> {
  await sleep(GRACE_MS);
}

/**
 * Whether the database of a name whose lock the connection of `run` has just taken is nobody's: its holder
 * has given it back, or is gone. Where that is not known, because a server that was restarted has ended the
 * connection of a holder that lives, it gets time to take the lock again, and has no client there.
 *
 * @param holder missing where there is no database, or it was given back
 * @returns false where it is somebody's; the lock is given back then
 */
export async function isLeftBehind(
  run: RunSql,
  name: string,
  holder: DatabaseHolder | undefined,
): Promise<boolean> {
  if (holder === undefined || isGone(holder)) {
    return true;
  }
  await unlock(run, name);
  await giveTime();
  if (!(await tryLock(run, name))) {
    return false;
  }
  const isInUse = await hasClients(run, name);
  if (isInUse) {
    await unlock(run, name);
  }
  return !isInUse;
}
