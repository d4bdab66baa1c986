import { sqlStateOf, type PgClient, type PgResult } from '../connection/pg-client.js';
import { writtenOn } from '../connection/wal-position.js';
import { UNREACHABLE } from '../connection/write-positions.js';

/**
 * COMMIT, and before it the question whether there is anything to commit: only what writes has a
 * transaction id. In one message, which takes no longer than COMMIT alone.
 */
export const HAS_WRITTEN =
  'select pg_catalog.pg_current_xact_id_if_assigned() is not null as wrote';
export const COMMIT_WITH_QUESTION = `${HAS_WRITTEN};commit`;

/** Of the server: a statement other than COMMIT or ROLLBACK in a transaction that has failed. */
const IN_FAILED_SQL_TRANSACTION = '25P02';

/** Whether the server refused because the transaction had failed before. */
export function isAborted(error: unknown): boolean {
  return sqlStateOf(error) === IN_FAILED_SQL_TRANSACTION;
}

/** What the answer to COMMIT says; with the question before it, the last answer is that to COMMIT. */
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

/**
 * Asks how far a replica must be to show what has just been committed. Never throws: the work is
 * saved, and a position that is not known sends the reads that follow to the primary.
 */
export async function askPosition(
  client: PgClient,
  source: {
    readonly name: string;
    readonly limits: { readonly endTimeoutMs: number };
    report?(message: string, error: unknown): void;
  },
): Promise<bigint> {
  try {
    return await writtenOn(client, source.limits.endTimeoutMs);
  } catch (error) {
    source.report?.(
      `the position of a write on connection "${source.name}" is not known, so its client reads from the primary for a while`,
      error,
    );
    return UNREACHABLE;
  }
}
