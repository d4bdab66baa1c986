import type { BeginStatement } from '../postgresql/begin-statements.js';
import { FirstMessage } from '../postgresql/first-message.js';
import type { PgClient, PgResult } from '../postgresql/pg-client.js';
import type { StatementListener } from './first-message.js';

/**
 * Sends a read in a transaction that holds nothing else: BEGIN, the read and COMMIT in one message,
 * and so in one round trip. The server refuses whatever it writes.
 *
 * @param begin what begins the transaction, read-only
 * @throws the server's error; the transaction is then still open, and aborted
 */
export async function readOn(
  client: PgClient,
  listener: StatementListener,
  begin: readonly BeginStatement[],
  sql: string,
): Promise<PgResult | PgResult[]> {
  const message = new FirstMessage(client, begin, sql, true);
  const around = begin.map((each) => each.sql);
  const startedAt = Date.now();
  [...around, sql, 'commit'].forEach((each) => listener.onSend(each));
  try {
    return message.answerIn(await client.query(message.text));
  } catch (error) {
    throw message.placed(error as Error);
  } finally {
    const tookMs = Date.now() - startedAt;
    [...around, 'commit'].forEach((each) => listener.onStatement(each, tookMs));
  }
}
