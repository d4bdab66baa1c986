import type { HostAnswer } from '../errors.js';
import type { StandaloneClient } from '../postgresql/pg-client.js';
import { askAlone, rowOf } from './standalone-client.js';
import { TIMED_OUT } from './time-limit.js';

/**
 * Recovery and timeline. Each promotion begins a timeline with a higher number, which the names of
 * WAL files begin with, so of two primaries the one with the higher is the later. See
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
const QUESTION =
  'select case when pg_is_in_recovery() then null ' +
  'else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline';

/**
 * Asks one server what it is, on a connection of its own. Never throws.
 *
 * @param host what it is called in the answer
 * @param client not connected yet; closed in the end, whatever comes of it
 */
export async function askForRole(
  host: string,
  client: StandaloneClient,
  limitMs: number,
): Promise<HostAnswer> {
  try {
    const timeline = await askAlone(
      client,
      limitMs,
      async () => rowOf(await client.query(QUESTION))['timeline'] ?? null,
    );
    if (timeline === TIMED_OUT) {
      return { host, role: 'unknown', error: silence(limitMs) };
    }
    return timeline === null ? { host, role: 'standby' } : { host, role: 'primary', timeline };
  } catch (error) {
    return { host, role: 'unknown', error: error as Error };
  }
}

/** What stands for the answer of a server that has given none. */
export function silence(limitMs: number): Error {
  return new Error(`no answer within ${Math.round(limitMs)} ms`);
}
