/**
 * Log sequence numbers (LSN): places in the write-ahead log, by which to find out whether a replica has
 * replayed a write of the primary. See https://www.postgresql.org/docs/current/datatype-pg-lsn.html
 */
import type { PgResult } from './pg-client.js';

/**
 * Asks how far the log of a replica was replayed. A replica that was promoted, or is the primary by
 * another name, has all that it has written. See
 * https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL
 */
export const REPLAYED_LSN = `select (case when pg_catalog.pg_is_in_recovery()
  then pg_catalog.pg_last_wal_replay_lsn()
  else pg_catalog.pg_current_wal_insert_lsn() end)::text as lsn`;

/** Asks where the log of the primary ends. */
export const WRITTEN_LSN = 'select pg_catalog.pg_current_wal_insert_lsn()::text as lsn';

/** An LSN that no replica ever reaches, for a write whose own LSN is not known. */
export const UNREACHABLE_LSN = 2n ** 64n - 1n;

const LSN = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i;

/** Bytes of a page of the log, and of the largest header of a page. */
const PAGE_BYTES = 8_192n;
const PAGE_HEADER_BYTES = 40n;

/**
 * Whether what was written up to `lsn` can be read where the log was replayed up to `replayed`. The
 * end of the log as the primary says it includes the header of the next page; what a replica has
 * replayed ends before that header.
 */
export function isReached(lsn: bigint, replayed: bigint): boolean {
  const header = replayed % PAGE_BYTES === 0n ? PAGE_HEADER_BYTES : 0n;
  return replayed + header >= lsn;
}

/**
 * Reads the answer to {@link REPLAYED_LSN} or {@link WRITTEN_LSN}.
 *
 * @throws Error the server knows no LSN
 */
export function lsnOf(answer: PgResult | PgResult[]): bigint {
  const [row] = (answer as PgResult).rows as { readonly lsn: string | null }[];
  const [, high, low] = LSN.exec(row?.lsn ?? '') ?? [];
  if (high === undefined || low === undefined) {
    throw new Error(`the server answered with no LSN: ${row?.lsn}`);
  }
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
