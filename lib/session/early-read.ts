import { sqlStateOf, type PgClient, type PgResult } from '../connection/pg-client.js';
import type { BeginStatement } from './begin-sql.js';
import { FirstMessage, type StatementListener } from './first-message.js';

/** Of the server: a statement wanted to write in a transaction that is read-only. */
const READ_ONLY_SQL_TRANSACTION = '25006';

/** Whether a read turned out to write, as one of a view can that calls a function. */
export function hasTriedToWrite(error: unknown): boolean {
  return sqlStateOf(error) === READ_ONLY_SQL_TRANSACTION;
}

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
