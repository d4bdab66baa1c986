import type { HostAnswer } from '../errors.js';
import type { StandaloneClient } from '../postgresql/pg-client.js';
import { askAlone, rowOf } from './standalone-client.js';
import { TIMED_OUT } from './time-limit.js';

/**
 * Asks for the timeline, which is null on a standby. Each promotion begins a timeline with a higher number,
 * with which the names of WAL files begin, so of two primaries the one with the higher number is the
 * later. See
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
const QUESTION =
  'select case when pg_is_in_recovery() then null ' +
  'else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline';

/**
 * Asks one server for its role, on a connection of its own. Never throws.
 *
 * @param host the name of the server in the answer
 * @param client a client that is not connected yet; it is closed in the end, also after an error
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
      return { host, role: 'unknown', error: noAnswer(limitMs) };
    }
    return timeline === null ? { host, role: 'standby' } : { host, role: 'primary', timeline };
  } catch (error) {
    return { host, role: 'unknown', error: error as Error };
  }
}

/** The error for a server that has not answered in time. */
export function noAnswer(limitMs: number): Error {
  return new Error(`no answer within ${Math.round(limitMs)} ms`);
}
