import { destroyClient, destroyClientAfter } from '../connection/destroy-client.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { CommitOutcomeUnknownError, UnexpectedRollbackError } from '../errors.js';
import { cancelBackend } from '../postgresql/cancel-request.js';
import { COMMIT_WITH_QUESTION, endOf } from '../postgresql/commit-message.js';
import { UNREACHABLE_LSN } from '../postgresql/lsn.js';
import type { PgClient, PgResult } from '../postgresql/pg-client.js';
import { isAborted, isServerError } from '../postgresql/server-errors.js';
import { askCommitLsn } from './commit-position.js';

/** Above the limit that the request itself has. */
const CANCEL_LIMIT_MS = 2_000;

/** What the end of a transaction needs to know of its connection. */
export interface EndSource {
  readonly name: string;
  readonly limits: { readonly endTimeoutMs: number };
  /** Told of each statement as it is sent. */
  onSend(sql: string): void;
  /** Told of COMMIT and ROLLBACK, which MikroORM does not see, for its query log. */
  onStatement(sql: string, tookMs: number): void;
  /** Told of what nobody can be thrown at. */
  report?(message: string, error: unknown): void;
}

/**
 * Sends COMMIT, once, and believes only the server's own `COMMIT` (F4, S6). Whatever comes of it,
 * the client is given back or destroyed (F1).
 *
 * @param mayReuse whether it may be given back
 * @param noteWrite told how far a replica must be to show what was written, if anything was
 * @throws {@link UnexpectedRollbackError} the server answered `ROLLBACK`
 * @throws {@link CommitOutcomeUnknownError} no answer came
 * @throws the server's own error, when it refused (a deferred constraint, 40001)
 */
export async function commitOn(
  client: PgClient,
  source: EndSource,
  mayReuse: boolean,
  noteWrite?: (lsn: bigint) => void,
): Promise<void> {
  const unknown = (cause: unknown): CommitOutcomeUnknownError => {
    // It may have been saved, and then the client has to find it.
    noteWrite?.(UNREACHABLE_LSN);
    return new CommitOutcomeUnknownError(source.name, cause);
  };
  const startedAt = Date.now();
  const { endTimeoutMs } = source.limits;
  let answer: PgResult | PgResult[] | typeof TIMED_OUT;
  source.onSend('commit');
  try {
    const message = noteWrite === undefined ? 'commit' : COMMIT_WITH_QUESTION;
    answer = await withinLimit(client.query(message), endTimeoutMs);
  } catch (error) {
    if (!isServerError(error)) {
      destroyClient(client);
      throw unknown(error);
    }
    // The server refused, if it is still there: an answer to ROLLBACK tells ERROR from FATAL.
    if (!(await rollBackOn(client, source, mayReuse))) {
      throw unknown(error);
    }
    // The question came first, and met what COMMIT would have answered with ROLLBACK.
    throw isAborted(error) ? new UnexpectedRollbackError(source.name, 'server-rollback') : error;
  }
  if (answer === TIMED_OUT) {
    // What the server is still doing would keep its locks.
    await abandon(client);
    throw unknown(new Error(`no answer within ${endTimeoutMs} ms`));
  }
  source.onStatement('commit', Date.now() - startedAt);
  const { isCommitted, hasWritten } = endOf(answer);
  let isClean = mayReuse;
  if (isCommitted && hasWritten && noteWrite !== undefined) {
    const lsn = await askCommitLsn(client, source);
    noteWrite(lsn);
    // Where no answer came, one may yet come.
    isClean &&= lsn !== UNREACHABLE_LSN;
  }
  giveBack(client, isClean);
  if (!isCommitted) {
    throw new UnexpectedRollbackError(source.name, 'server-rollback');
  }
}

/**
 * Sends ROLLBACK. The client is given back, or destroyed when no answer came.
 *
 * @returns whether the server confirmed it; if not, it rolls back as the connection goes
 */
export async function rollBackOn(
  client: PgClient,
  source: EndSource,
  mayReuse: boolean,
): Promise<boolean> {
  const startedAt = Date.now();
  source.onSend('rollback');
  try {
    const answer = await withinLimit(client.query('rollback'), source.limits.endTimeoutMs);
    if (answer !== TIMED_OUT) {
      source.onStatement('rollback', Date.now() - startedAt);
      giveBack(client, mayReuse);
      return true;
    }
  } catch {
    // Whatever made ROLLBACK fail, the end of the connection does its work.
  }
  await abandon(client);
  return false;
}

/**
 * Takes a client in an unknown state out of the pool, at once, stops what the server is running for
 * it, and then closes its connection.
 *
 * @returns when that request has gone out: a process that ended before would leave the statement,
 *   and its locks, to the server
 */
export async function abandon(client: PgClient): Promise<void> {
  const cancelled = cancelBackend(client);
  // A pooler in between may see the end before the request, and then cancels nothing.
  destroyClientAfter(client, cancelled);
  // The request does not keep the process alive; this limit does.
  await withinLimit(cancelled, CANCEL_LIMIT_MS);
}

/** Only the server's word that it is outside a transaction lets a client back into the pool (F2). */
export function giveBack(client: PgClient, mayReuse: boolean): void {
  if (mayReuse && client.getTransactionStatus() === 'I') {
    client.release();
  } else {
    destroyClient(client);
  }
}
