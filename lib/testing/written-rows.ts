import type { PgResult } from '../postgresql/pg-client.js';

/** Asks how many rows the whole transaction has written so far. */
export const WRITTEN_ROWS =
  'select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::text as writes ' +
  'from pg_catalog.pg_stat_xact_all_tables';

/** @param answer the answer to {@link WRITTEN_ROWS} */
export function writtenRowsOf(answer: PgResult | undefined): bigint {
  const [row] = (answer?.rows ?? []) as { readonly writes: string }[];
  return BigInt(row?.writes ?? 0);
}

const WRITES = /^(?:insert|update|delete|merge|copy|create|alter|drop|truncate)/i;

/** Whether a command that was answered is one that writes. */
export function isWrite(answer: PgResult | PgResult[]): boolean {
  return [answer].flat().some(({ command }) => WRITES.test(command ?? ''));
}
