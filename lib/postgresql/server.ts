import { isUnanswered } from './unanswered.js';
import { COMMIT_WITH_QUESTION, endOf, isRolledBack } from './commit-message.js';
import { isEnd, mayHaveEnded, wordOfEnd } from './transaction-end-statements.js';
import { FirstMessage } from './first-message.js';
import { HIDDEN_CODE, hiddenCodeOf } from './hidden-code.js';
import { lsnOf, UNREACHABLE_LSN, WRITTEN_LSN } from './lsn.js';
import type { PgClient } from './pg-client.js';
import { isPlainRead } from './plain-read.js';
import {
  endsConnection,
  hasTriedToWrite,
  isAborted,
  isIdleTimeout,
  isServerError,
} from './server-errors.js';

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
  rollback: 'rollback',
  commit: (asksWhetherWritten: boolean) => (asksWhetherWritten ? COMMIT_WITH_QUESTION : 'commit'),
  commitAnswer: endOf,
  isRolledBack,
  isUnanswered,
  writtenLsn: WRITTEN_LSN,
  unreachableLsn: UNREACHABLE_LSN,
  lsnOf,
  isPlainRead,
  hiddenCode: HIDDEN_CODE,
  hiddenCodeOf,
  isEnd,
  wordOfEnd,
  mayHaveEnded,
  isRefusal: isServerError,
  endsConnection,
  isAborted,
  isIdleTimeout,
  hasTriedToWrite,
};

function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}
