import { COMMIT_WITH_QUESTION, endOf } from './commit-message.js';
import { endedBy, mayHaveEnded } from './ended-by.js';
import { FirstMessage } from './first-message.js';
import { lsnOf, UNREACHABLE_LSN, WRITTEN_LSN } from './lsn.js';
import type { PgClient } from './pg-client.js';
import { isPlainRead } from './plain-read.js';
import { endsConnection, hasTriedToWrite, isAborted, isServerError } from './server-errors.js';

/**
 * What a transaction has to know of PostgreSQL: its texts, its answers and its errors. The interface
 * that this fulfils is `transaction/server.ts`.
 */
export const postgresql = {
  setSavepoint: (name: string) => `savepoint ${quoted(name)}`,
  releaseSavepoint: (name: string) => `release savepoint ${quoted(name)}`,
  undoSavepoint: (name: string) =>
    `rollback to savepoint ${quoted(name)}; release savepoint ${quoted(name)}`,
  combine: (
    client: PgClient,
    begin: readonly { readonly sql: string; readonly values: readonly unknown[] }[],
    sql: string,
    isWhole = false,
  ) => new FirstMessage(client, begin, sql, isWhole),
  hasRunNothing,
  commit: (asksWhetherWritten: boolean) => (asksWhetherWritten ? COMMIT_WITH_QUESTION : 'commit'),
  commitAnswer: endOf,
  writtenLsn: WRITTEN_LSN,
  unreachableLsn: UNREACHABLE_LSN,
  lsnOf,
  isPlainRead,
  endedBy,
  mayHaveEnded,
  isRefusal: isServerError,
  endsConnection,
  isAborted,
  hasTriedToWrite,
};

/**
 * Whether nothing of a failed message that was to begin a transaction has run: the server refused it
 * and is outside of a transaction, and the text cannot have ended one by itself.
 *
 * `pg` rejects before the server has said, in its next message, whether a transaction is open.
 * Therefore one more statement is sent before the client is asked.
 */
async function hasRunNothing(client: PgClient, sql: string, error: unknown): Promise<boolean> {
  if (!isServerError(error) || mayHaveEnded(sql)) {
    return false;
  }
  try {
    await client.query('');
  } catch {
    // The connection is gone, and whatever has run went with it.
    return false;
  }
  return client.getTransactionStatus() === 'I';
}

function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}
