import type { BeginStatement } from '../postgresql/begin-statements.js';
import { FirstMessage } from '../postgresql/first-message.js';
import type { PgClient, PgResult } from '../postgresql/pg-client.js';
import { isServerError } from '../postgresql/server-errors.js';

/** Who hears of what is sent, and of what MikroORM did not send itself. */
export interface StatementListener {
  onSend(sql: string): void;
  onStatement(sql: string, tookMs: number): void;
}

/**
 * Sends what begins a transaction and its first statement as one message.
 *
 * @returns `undefined` if nothing of it has run, so that each has to be sent by itself
 * @throws why the statement failed
 */
export async function sendTogether(
  client: PgClient,
  listener: StatementListener,
  begin: readonly BeginStatement[],
  sql: string,
): Promise<{ readonly answer: PgResult | PgResult[] } | undefined> {
  const message = new FirstMessage(client, begin, sql);
  const startedAt = Date.now();
  const tell = (): void => {
    for (const each of begin) {
      listener.onSend(each.sql);
      listener.onStatement(each.sql, Date.now() - startedAt);
    }
    listener.onSend(sql);
  };
  try {
    const result = await client.query(message.text);
    tell();
    return { answer: message.answerIn(result) };
  } catch (error) {
    if (isServerError(error) && !(await isInTransaction(client))) {
      return undefined;
    }
    tell();
    throw message.placed(error as Error);
  }
}

/**
 * Asks the client only when it knows: `pg` tells of an error before the server has said, in its next
 * message, whether a transaction is open. One more statement is sent after that.
 */
async function isInTransaction(client: PgClient): Promise<boolean> {
  try {
    await client.query('');
  } catch {
    // The connection is gone, and whatever has run with it.
    return true;
  }
  return client.getTransactionStatus() !== 'I';
}
