import type { HostAnswer } from '../errors.js';
import type { ProbeClient } from './pg-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/**
 * Recovery and timeline. Each promotion begins a timeline with a higher number, which the names of
 * WAL files begin with, so of two primaries the one with the higher is the later. See
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
const QUESTION =
  'select case when pg_is_in_recovery() then null ' +
  'else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline';

/** How long a server may take to say goodbye, in milliseconds. */
const GOODBYE_MS = 1_000;

const ignore = (): void => undefined;

/**
 * Asks one server what it is, on a connection of its own. Never throws.
 *
 * @param host what it is called in the answer
 * @param client not connected yet; closed in the end, whatever comes of it
 */
export async function askForRole(
  host: string,
  client: ProbeClient,
  limitMs: number,
): Promise<HostAnswer> {
  client.on('error', ignore);
  try {
    const timeline = await withinLimit(ask(client), limitMs);
    if (timeline !== TIMED_OUT) {
      sayGoodbye(client);
      return timeline === null ? { host, role: 'standby' } : { host, role: 'primary', timeline };
    }
    client.connection.stream.destroy();
    return { host, role: 'unknown', error: silence(limitMs) };
  } catch (error) {
    client.connection.stream.destroy();
    return { host, role: 'unknown', error: error as Error };
  }
}

/** What stands for the answer of a server that has given none. */
export function silence(limitMs: number): Error {
  return new Error(`no answer within ${Math.round(limitMs)} ms`);
}

async function ask(client: ProbeClient): Promise<string | null> {
  await client.connect();
  const { rows } = await client.query(QUESTION);
  return (rows[0] as { readonly timeline: string | null }).timeline;
}

/** Not awaited: what it wanted to know it knows. */
function sayGoodbye(client: ProbeClient): void {
  const { stream } = client.connection;
  const late = setTimeout(() => stream.destroy(), GOODBYE_MS).unref();
  void client
    .end()
    .catch(ignore)
    .finally(() => clearTimeout(late));
  stream.unref();
}
