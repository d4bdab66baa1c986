import type { PgResult } from './pg-client.js';

/** Asks whether the current transaction has written anything: only then it has a transaction id. */
export const HAS_WRITTEN =
  'select pg_catalog.pg_current_xact_id_if_assigned() is not null as wrote';

/** {@link HAS_WRITTEN} and COMMIT in one message, which takes no longer than COMMIT alone. */
export const COMMIT_WITH_QUESTION = `${HAS_WRITTEN};commit`;

/**
 * Reads the server's answer to COMMIT or to {@link COMMIT_WITH_QUESTION}. PostgreSQL answers COMMIT of
 * a failed transaction with the command tag `ROLLBACK` and no error, see
 * https://www.postgresql.org/docs/current/sql-commit.html
 */
export function endOf(answer: PgResult | PgResult[]): {
  readonly isCommitted: boolean;
  readonly hasWritten: boolean;
} {
  if (!Array.isArray(answer)) {
    return { isCommitted: answer.command === 'COMMIT', hasWritten: false };
  }
  const [question, commit, ...more] = answer;
  const [row] = (question?.rows ?? []) as { readonly wrote?: unknown }[];
  return {
    isCommitted: commit?.command === 'COMMIT' && more.length === 0,
    hasWritten: row?.wrote === true,
  };
}
