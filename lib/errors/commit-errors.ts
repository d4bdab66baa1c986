import type { Outcome } from '../outcome.js';
import { DbContextError, describe, named, within, type ErrorPlace } from './db-context-error.js';
import type { EndCause } from './end-cause.js';

/** How one session of a context ended. */
export interface SettlementOutcome {
  /** Name of the connection. */
  readonly connectionName: string;
  readonly outcome: Outcome;
}

/** Why a commit was refused, see {@link UnexpectedRollbackError}. */
export type RollbackReason =
  | 'failed-statement'
  | 'unawaited-statements'
  | 'unfinished-handler'
  | 'connection-lost'
  | 'server-rollback'
  | 'failed-before'
  | 'failed-flush'
  | 'rollback-only'
  | 'ended-meanwhile'
  | 'context-ended'
  | 'joined-context-ended';

/**
 * A statement was refused because the transaction could not begin, its connection is lost, or an earlier
 * statement of it had failed. `cause` is the first failure.
 *
 * @publicApi
 */
export class TransactionAbortedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown, isSent = false) {
    super(
      'TRANSACTION_ABORTED',
      `The transaction on connection ${named(place)} is beyond use (${describe(cause)}); this ` +
        `statement was ${isSent ? 'refused by the server' : 'not sent'}. Call rollback() on the session to ` +
        'start over, or wrap what may fail in em.transactional() so that a savepoint undoes it.',
      cause,
      place,
    );
  }
}

/**
 * A commit was asked for and the transaction was rolled back instead; nothing of it was saved.
 *
 * PostgreSQL answers COMMIT of a failed transaction with `ROLLBACK` and no error, see
 * https://www.postgresql.org/docs/current/sql-commit.html; this error stands in for the missing one.
 *
 * @publicApi
 */
export class UnexpectedRollbackError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly reason: RollbackReason,
    cause?: unknown,
    endCause?: EndCause,
  ) {
    const why = endCause === undefined ? ROLLBACK_REASONS[reason] : endedBecause(endCause);
    super(
      'UNEXPECTED_ROLLBACK',
      `The transaction on connection ${named(place)} was rolled back instead of committed: ` +
        `${why}${cause instanceof Error ? ` (${cause.message})` : ''}.`,
      cause ?? endCause?.error,
      place,
    );
  }
}

function endedBecause({ what }: EndCause): string {
  return `its context had been ended before, because ${what}`;
}

const ROLLBACK_REASONS: Record<RollbackReason, string> = {
  'failed-statement':
    'a statement had failed and its error was swallowed; let the error through, or wrap the ' +
    'statement in em.transactional() so that a savepoint undoes it',
  'unawaited-statements':
    'statements were still running or waiting when it was to be committed; await all of them',
  'unfinished-handler':
    'its handler had not returned when it was answered in its place, by an interceptor (timeout() with a ' +
    'fallback, race()) or because another field had failed, so a part of its work would have been saved; let the ' +
    'interceptor throw, or wait for the handler',
  'connection-lost': 'its connection was lost before COMMIT was sent',
  'server-rollback': 'the server answered COMMIT with ROLLBACK',
  'failed-before':
    'a commit before it had failed, and nobody has rolled back since; call rollback(), then do the work ' +
    'again',
  'failed-flush':
    'a flush had failed and its error was swallowed, so what it was to write is lost; let the error ' +
    'through, or call rollback() and do the work again',
  'rollback-only': 'rollbackOnly() was called',
  'ended-meanwhile':
    'its session was closed, rolled back or taken out of the context while it was to be committed, by a ' +
    'beforeCommit hook or by a branch that nobody awaits; throw in the hook to undo the work, and await all ' +
    'branches',
  'context-ended':
    'its context had been ended before, because the client went away, its time was over, the application ' +
    'shuts down, or its code failed',
  'joined-context-ended':
    'it had joined a context that was ended before it was done; let what opens that context wait for it, as ' +
    'dbContext.run(() => new Promise(...)) around a request until its response is closed, or use mount: ' +
    "'middleware' instead",
};

/**
 * COMMIT was sent and its answer never came. The transaction may or may not have been saved; look
 * at the data before doing the work again. It is never retried.
 *
 * @publicApi
 */
export class CommitOutcomeUnknownError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown) {
    super(
      'COMMIT_OUTCOME_UNKNOWN',
      `COMMIT was sent on connection ${named(place)} and its answer was lost: the work may or may ` +
        'not be saved. Check the data before repeating it.',
      cause,
      place,
    );
  }
}

/**
 * The server said that it was ready without an answer to a statement, or with one that is none. What it
 * says next could be taken for the answer to something else, so its connection is destroyed and the
 * transaction is rolled back. Look for what stands between the application and PostgreSQL.
 *
 * @publicApi
 */
export class ProtocolViolationError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace) {
    super(
      'PROTOCOL_VIOLATION',
      `The server of connection ${named(place)} gave no valid answer to a statement, so its ` +
        'connection was closed. Check the proxies and poolers in front of PostgreSQL.',
      undefined,
      place,
    );
  }
}

/**
 * A context with several connections was committed on some of them only, one that may have written among
 * them. `cause` is the error of the commit that failed; `outcomes` says how each session ended, in the order of
 * their commits.
 *
 * @publicApi
 */
export class PartialCommitError extends DbContextError {
  constructor(
    readonly outcomes: readonly SettlementOutcome[],
    cause: unknown,
    place: Pick<ErrorPlace, 'origin'> = {},
  ) {
    const list = outcomes.map((each) => `${each.connectionName} ${each.outcome}`).join(', ');
    super(
      'PARTIAL_COMMIT',
      `Not every connection was committed${within(place)}: ${list}. What is committed stays; repair ` +
        'it by hand, or keep writes that belong together in one database.',
      cause,
      { origin: place.origin },
    );
  }
}
