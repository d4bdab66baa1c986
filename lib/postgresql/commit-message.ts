import type { PgResult } from './pg-client.js';

/** Asks whether the current transaction has written anything: only then it has a transaction id. */
export const HAS_WRITTEN =
  'select pg_catalog.pg_current_xact_id_if_assigned() is not null as wrote';

/** {@link HAS_WRITTEN} and COMMIT in one message, which takes no longer than COMMIT alone. */
export const COMMIT_WITH_QUESTION = `${HAS_WRITTEN};commit`;

/**
 * What the server has said of a COMMIT. PostgreSQL answers COMMIT of a failed transaction with the
 * command tag `ROLLBACK` and no error, see https://www.postgresql.org/docs/current/sql-commit.html
 *
 * `unclear`: it has said neither, or something more, so what has become of the transaction is not known.
 */
export type CommitWord = 'committed' | 'rolled-back' | 'unclear';

/**
 * Reads the server's answer to COMMIT or to {@link COMMIT_WITH_QUESTION}.
 *
 * @param hasQuestion which of the two was sent
 */
export function endOf(
  answer: PgResult | PgResult[],
  hasQuestion: boolean,
): { readonly word: CommitWord; readonly hasWritten: boolean } {
  if (!Array.isArray(answer)) {
    return { word: hasQuestion ? 'unclear' : wordOf(answer), hasWritten: false };
  }
  const [question, commit, ...more] = answer;
  const [row] = (question?.rows ?? []) as { readonly wrote?: unknown }[];
  const isWhole = hasQuestion && question?.command === 'SELECT' && more.length === 0;
  return { word: isWhole ? wordOf(commit) : 'unclear', hasWritten: row?.wrote === true };
}

function wordOf(answer: PgResult | undefined): CommitWord {
  switch (answer?.command) {
    case 'COMMIT':
      return 'committed';
    case 'ROLLBACK':
      return 'rolled-back';
    default:
      return 'unclear';
  }
}

/** Whether the server has answered ROLLBACK with its tag, and with nothing else. */
export function isRolledBack(answer: PgResult | PgResult[]): boolean {
  return !Array.isArray(answer) && wordOf(answer) === 'rolled-back';
}
