import { TIMED_OUT, withinLimit } from './time-limit.js';
import type { PgClient, PgResult } from './pg-client.js';

/**
 * See https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL
 * A replica that was promoted, or is the primary by another name, has all that it has written.
 */
const REPLAYED = `select (case when pg_catalog.pg_is_in_recovery()
  then pg_catalog.pg_last_wal_replay_lsn()
  else pg_catalog.pg_current_wal_insert_lsn() end)::text as position`;

const WRITTEN = 'select pg_catalog.pg_current_wal_insert_lsn()::text as position';

const LSN = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i;

/** Bytes of a page of the log, and the largest header of one. */
const PAGE_BYTES = 8_192n;
const PAGE_HEADER_BYTES = 40n;

/** How far the server of `client` is, as far as reads on it are concerned. */
export function replayedOn(client: PgClient, limitMs: number): Promise<bigint> {
  return ask(client, REPLAYED, limitMs);
}

/** Where the log of the primary ends. */
export function writtenOn(client: PgClient, limitMs: number): Promise<bigint> {
  return ask(client, WRITTEN, limitMs);
}

/**
 * Whether what was written up to `position` can be read where `replayed` was replayed. The end of the
 * log is told with the header of the next page; what was replayed ends before it.
 */
export function isReached(position: bigint, replayed: bigint): boolean {
  const header = replayed % PAGE_BYTES === 0n ? PAGE_HEADER_BYTES : 0n;
  return replayed + header >= position;
}

/** @throws the server's error, or Error that the answer is late or none */
async function ask(client: PgClient, sql: string, limitMs: number): Promise<bigint> {
  const answer = await withinLimit(client.query(sql), limitMs);
  if (answer === TIMED_OUT) {
    throw new Error(`no answer within ${limitMs} ms`);
  }
  const [row] = (answer as PgResult).rows as { readonly position: string | null }[];
  return parseLsn(row?.position);
}

function parseLsn(text: string | null | undefined): bigint {
  const [, high, low] = LSN.exec(text ?? '') ?? [];
  if (high === undefined || low === undefined) {
    throw new Error(`the server has no position in a write-ahead log: ${text}`);
  }
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
