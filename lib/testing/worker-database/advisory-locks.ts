import type { RunSql } from './database-link.js';
import { lockKeyOf } from './database-names.js';

/**
 * Runs `work` under an advisory lock of the server, which no other process has at the same time. The
 * server releases it when the process that has it dies.
 *
 * @param waitMs longest time to wait for the lock, in milliseconds
 */
export async function underLock<T>(
  run: RunSql,
  name: string,
  waitMs: number,
  work: () => Promise<T>,
): Promise<T> {
  await lock(run, name, waitMs);
  try {
    return await work();
  } finally {
    await unlock(run, name);
  }
}

/**
 * Takes the lock of a name for the connection of `run`.
 *
 * @param waitMs longest time to wait for it, in milliseconds
 */
export async function lock(run: RunSql, name: string, waitMs: number): Promise<void> {
  await run(`set lock_timeout = ${waitMs}`);
  await run('select pg_advisory_lock($1::bigint)', [lockKeyOf(name)]);
  await run('reset lock_timeout');
}

/** @returns whether the lock was free; it then belongs to the connection of `run` */
export async function tryLock(run: RunSql, name: string): Promise<boolean> {
  const [row] = await run('select pg_try_advisory_lock($1::bigint) as taken', [lockKeyOf(name)]);
  return row!['taken'] as boolean;
}

/** Gives the lock of a name back. */
export async function unlock(run: RunSql, name: string): Promise<void> {
  await run('select pg_advisory_unlock($1::bigint)', [lockKeyOf(name)]);
}

/** The connection that has the lock of a name, see {@link holderOf}. */
export interface LockHolder {
  readonly backendPid: number;
  readonly applicationName: string;
}

/** @returns undefined where nobody has the lock, or a role has it of which this one may see nothing */
export async function holderOf(run: RunSql, name: string): Promise<LockHolder | undefined> {
  const [row] = await run(
    `select a.pid as "backendPid", a.application_name as "applicationName"
     from pg_locks l
     join pg_database d on d.oid = l.database and d.datname = current_database()
     join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
       and (l.classid::bigint << 32 | l.objid::bigint) = $1::bigint and a.application_name is not null`,
    [lockKeyOf(name)],
  );
  return row as LockHolder | undefined;
}
