import { DbContextError, named, type ErrorPlace } from './db-context-error.js';
import type { EndCause } from './end-cause.js';

/**
 * A session was used after its transaction had ended, most often by work that nobody awaited.
 * The statement did not reach the database.
 *
 * @publicApi
 */
export class SessionClosedError extends DbContextError {
  declare readonly connectionName: string;

  /**
   * @param endedBy the call that ended the transaction while a stream was being read, that had lent the
   *   client, or whose nested transaction it was
   * @param end what ended the context, where it was not its own code; what became of a query that was
   *   under way as the client was taken back; the classes of entities that were changed after the end
   */
  constructor(
    place: string | ErrorPlace,
    endedBy?: EndingCall,
    {
      because,
      brokenOff,
      unsaved,
    }: {
      readonly because?: EndCause | undefined;
      readonly brokenOff?: { readonly cause?: unknown };
      readonly unsaved?: readonly string[];
    } = {},
  ) {
    const fate =
      unsaved !== undefined
        ? `what was changed since is not saved (${unsaved.join(', ')})`
        : brokenOff === undefined
          ? 'this statement was not sent'
          : 'this query was broken off';
    const why = because === undefined ? '' : `, because ${because.what}`;
    const advice = because === undefined ? ` ${adviceAfter(endedBy)}` : '';
    super(
      'SESSION_CLOSED',
      `${endOf(place, endedBy)}${why}, and ${fate}.${advice}`,
      brokenOff?.cause ?? because?.error,
      place,
    );
  }
}

/** A call that ends a transaction, or a part of one. */
export type EndingCall = 'commit()' | 'rollback()' | 'withClient()' | 'transactional()';

function endOf(place: string | ErrorPlace, endedBy: EndingCall | undefined): string {
  switch (endedBy) {
    case 'withClient()':
      return `The client of connection ${named(place)} is closed: the callback of withClient() has ended`;
    case 'transactional()':
      return `The nested transaction of connection ${named(place)} is closed: it has ended`;
    default:
      return `The session of connection ${named(place)} is closed: its transaction has ended`;
  }
}

function adviceAfter(endedBy: EndingCall | undefined): string {
  switch (endedBy) {
    case undefined:
      return (
        'Await everything that uses the session before the handler returns, or give work that must ' +
        'outlive it a context of its own. An entity that was loaded in an earlier context belongs to the ' +
        'session of that one: load it again instead.'
      );
    case 'withClient()':
      return 'Await everything that uses the client before the callback returns.';
    case 'transactional()':
      return (
        'Await everything that was begun in it, and read its streams to their end, before the callback ' +
        'of session.transactional() returns.'
      );
    default:
      return (
        `${endedBy} was called while stream() was being read, whose cursor ends with the ` +
        'transaction. Read the stream to its end first, or do the work of each batch in ' +
        'dbContext.runInNewContext().'
      );
  }
}

/**
 * A call does not fit the state that the transaction is in, for example `commit()` inside
 * `em.transactional()`.
 *
 * @publicApi
 */
export class InvalidTransactionStateError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, message: string, cause?: unknown) {
    super('INVALID_TRANSACTION_STATE', `Connection ${named(place)}: ${message}`, cause, place);
  }
}

/**
 * A flush had changes to write, and the transaction is read-only. Nothing was sent.
 *
 * @publicApi
 */
export class ReadOnlyTransactionError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    /** Class names of the entities that were to be written. */
    readonly entityNames: readonly string[],
  ) {
    super(
      'READ_ONLY_TRANSACTION',
      `The transaction on connection ${named(place)} is read-only, and a flush had changes to write ` +
        `(${entityNames.join(', ')}). Leave readOnly out where the work writes, or do not change ` +
        'managed entities where it only reads.',
      undefined,
      place,
    );
  }
}
