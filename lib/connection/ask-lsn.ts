import { lsnOf, REPLAYED_LSN } from '../postgresql/lsn.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/**
 * Asks the server of a client up to which LSN it has replayed its write-ahead log: reads see the commits up
 * to there.
 *
 * @param limitMs longest wait for the answer, in milliseconds
 * @throws the server's error, or Error: the answer is late or holds no LSN
 */
export async function askReplayedLsn(client: PgClient, limitMs: number): Promise<bigint> {
  const answer = await withinLimit(client.query(REPLAYED_LSN), limitMs);
  if (answer === TIMED_OUT) {
    throw new Error(`no answer within ${limitMs} ms`);
  }
  return lsnOf(answer);
}
