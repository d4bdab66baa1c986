import { lsnOf, REPLAYED_LSN, WRITTEN_LSN } from '../postgresql/lsn.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/**
 * Asks the server of a client how far its write-ahead log was replayed, which is how far reads see.
 *
 * @param limitMs longest wait for the answer, in milliseconds
 * @throws the server's error, or Error that the answer is late or none
 */
export function askReplayedLsn(client: PgClient, limitMs: number): Promise<bigint> {
  return ask(client, REPLAYED_LSN, limitMs);
}

/**
 * Asks the primary where its write-ahead log ends.
 *
 * @param limitMs longest wait for the answer, in milliseconds
 * @throws the server's error, or Error that the answer is late or none
 */
export function askWrittenLsn(client: PgClient, limitMs: number): Promise<bigint> {
  return ask(client, WRITTEN_LSN, limitMs);
}

async function ask(client: PgClient, sql: string, limitMs: number): Promise<bigint> {
  const answer = await withinLimit(client.query(sql), limitMs);
  if (answer === TIMED_OUT) {
    throw new Error(`no answer within ${limitMs} ms`);
  }
  return lsnOf(answer);
}
