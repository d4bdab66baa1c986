import { DriverException } from '@mikro-orm/core';

import { withPage } from '../error-page.js';

/**
 * Where an error has happened, see {@link DbContextError}.
 *
 * @publicApi
 */
export interface ErrorPlace {
  /** Name of the connection. */
  readonly connectionName: string;
  /** The unit of work, see {@link DbContextError.origin}. */
  readonly origin?: string | undefined;
}

/** The codes of all errors, see {@link DbContextError.code}. */
export type DbContextErrorCode =
  | 'ACQUIRE_TIMEOUT'
  | 'COMMIT_OUTCOME_UNKNOWN'
  | 'CONNECTION_CLOSED'
  | 'CONNECTION_FAILED'
  | 'CONTEXT_SETTINGS_FAILED'
  | 'BEFORE_SESSION_FAILED'
  | 'CONTEXT_TIMEOUT'
  | 'DB_CONTEXT_NOT_ACTIVE'
  | 'DECORATOR_NOT_MANAGED'
  | 'DUPLICATE_CONNECTION'
  | 'HOOK_TIMEOUT'
  | 'HOST_DRAIN_TIMEOUT'
  | 'INVALID_OPTIONS'
  | 'INVALID_TRANSACTION_STATE'
  | 'JOB_NOT_SENT'
  | 'NO_PRIMARY'
  | 'OUTSIDE_TEST'
  | 'PARTIAL_COMMIT'
  | 'POOL_DEADLOCK'
  | 'PROTOCOL_VIOLATION'
  | 'READ_ONLY_TRANSACTION'
  | 'REPLICAS_UNAVAILABLE'
  | 'SAVEPOINT_TIMEOUT'
  | 'SESSION_CLOSED'
  | 'SHUTTING_DOWN'
  | 'STREAM_FAILED'
  | 'STREAM_REFUSED'
  | 'STREAM_TIMEOUT'
  | 'TEST_CONNECTION_LOST'
  | 'TEST_ISOLATION'
  | 'TEST_ROWS_KEPT'
  | 'TEST_TIMEOUT'
  | 'TRANSACTION_ABORTED'
  | 'TRANSACTION_TIMEOUT'
  | 'UNEXPECTED_ROLLBACK'
  | 'UNKNOWN_CONNECTION'
  | 'UNKNOWN_ENTITY'
  | 'WORKER_DATABASE'
  | 'WRONG_DATABASE';

/**
 * Base of every error that this library throws. `code` names the error and is stable across
 * versions; the message says what happened, on which connection, and what to do about it. Its last line
 * names the section of docs/errors.md in the package that explains the code.
 *
 * It extends MikroORM's `DriverException` for one reason: MikroORM's driver wraps every error
 * that is not one, so an error raised below `em.find()` would reach the caller as another class.
 *
 * @publicApi
 */
export abstract class DbContextError extends DriverException {
  /** Stable, machine-readable name of the error. */
  declare readonly code: DbContextErrorCode;
  /** The unit of work that it happened in, where there is one: `OrdersController.create`, `dbContext.run()`. */
  declare readonly origin?: string;

  protected constructor(
    code: DbContextErrorCode,
    message: string,
    cause?: unknown,
    place: string | Partial<ErrorPlace> = {},
  ) {
    // MikroORM 6 demands a stack, and the error that refuses it is one of these.
    super({ name: 'DbContextError', message: withPage(message, code), stack: '' });
    // The fields of a server's answer do not apply here; unset, they do not clutter a log line.
    for (const key of ['errno', 'sqlState', 'sqlMessage', 'errmsg'] as const) {
      delete this[key];
    }
    this.code = code;
    const { connectionName, origin } =
      typeof place === 'string' ? { connectionName: place } : place;
    if (connectionName !== undefined) {
      Object.assign(this, { connectionName });
    }
    if (origin !== undefined) {
      Object.assign(this, { origin });
    }
    if (cause !== undefined) {
      Object.defineProperty(this, 'cause', { value: cause, writable: true, configurable: true });
    }
  }
}

/** A connection as messages name it, and the unit of work that has used it. */
export function named(place: string | ErrorPlace): string {
  return typeof place === 'string' ? `"${place}"` : `"${place.connectionName}"${within(place)}`;
}

export function within({ origin }: Pick<ErrorPlace, 'origin'>): string {
  return origin === undefined ? '' : ` in the context of ${origin}`;
}

// Node reports a refused connection to a host with several addresses as an AggregateError, whose own
// message is empty.
export function describe(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) {
    return cause.errors.map((each) => describe(each)).join('; ');
  }
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
