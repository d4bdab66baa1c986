import { DriverException } from '@mikro-orm/core';

import { withPage } from './error-page.js';
import type { Outcome } from './outcome.js';

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
  | 'connection-lost'
  | 'server-rollback'
  | 'failed-before'
  | 'failed-flush'
  | 'rollback-only'
  | 'ended-meanwhile'
  | 'context-ended';

/** Why a statement cannot be streamed, see {@link StreamRefusedError}. */
export type StreamRefusalReason = 'no-query' | 'writes' | 'several-statements' | 'locks-rows';

/** The answer of one host of the option `failover`, see {@link NoPrimaryError}. */
export interface HostAnswer {
  /** Host and port. */
  readonly host: string;
  /** `unknown`: it gave no answer, and `error` says why. */
  readonly role: 'primary' | 'standby' | 'unknown';
  /** The timeline of a primary, eight hexadecimal digits; each promotion begins a higher one. */
  readonly timeline?: string;
  /** Why the host cannot be used. */
  readonly error?: Error;
}

/** The codes of all errors, see {@link DbContextError.code}. */
export type DbContextErrorCode =
  | 'ACQUIRE_TIMEOUT'
  | 'COMMIT_OUTCOME_UNKNOWN'
  | 'CONNECTION_CLOSED'
  | 'CONNECTION_FAILED'
  | 'CONTEXT_SETTINGS_FAILED'
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
function named(place: string | ErrorPlace): string {
  return typeof place === 'string' ? `"${place}"` : `"${place.connectionName}"${within(place)}`;
}

function within({ origin }: Pick<ErrorPlace, 'origin'>): string {
  return origin === undefined ? '' : ` in the context of ${origin}`;
}

/**
 * Options given to the module are missing, contradict each other, or name something unknown.
 * Thrown while the application boots.
 *
 * @publicApi
 */
export class InvalidOptionsError extends DbContextError {
  constructor(message: string, cause?: unknown) {
    super('INVALID_OPTIONS', message, cause);
  }
}

/**
 * Two connections were declared under one name. Thrown while the application boots.
 *
 * @publicApi
 */
export class DuplicateConnectionError extends DbContextError {
  constructor(readonly connectionName: string) {
    super(
      'DUPLICATE_CONNECTION',
      `The connection "${connectionName}" is declared twice. Give each connection its own name: ` +
        `{ name: 'reports', ... }; the name defaults to "default".`,
    );
  }
}

/**
 * A session, a connection or a repository was asked for under a name that no module declares.
 *
 * @publicApi
 */
export class UnknownConnectionError extends DbContextError {
  /** @param where the beginning of the message, which names the caller */
  constructor(
    readonly connectionName: string,
    readonly knownNames: readonly string[],
    where = '',
  ) {
    const known = knownNames.map((name) => `"${name}"`).join(', ') || 'none';
    super(
      'UNKNOWN_CONNECTION',
      `${where}There is no connection "${connectionName}" (declared: ${known}). Declare it with ` +
        `DbContextModule.forRoot({ connections: [{ name: '${connectionName}', ... }] }) or ` +
        `DbContextModule.forFeature({ name: '${connectionName}', ... }).`,
    );
  }
}

/**
 * A repository was asked for an entity that its connection does not know.
 *
 * @publicApi
 */
export class UnknownEntityError extends DbContextError {
  constructor(
    readonly entityName: string,
    readonly connectionName: string,
  ) {
    super(
      'UNKNOWN_ENTITY',
      `The connection "${connectionName}" does not know the entity ${entityName}. Decorate the ` +
        `class with @Entity(), and add it to the connection: entities: [${entityName}] in its ` +
        `options, or in those of the MikroORM instance that was handed over.`,
    );
  }
}

/**
 * A session was used where no context is open.
 *
 * @publicApi
 */
export class DbContextNotActiveError extends DbContextError {
  constructor() {
    super(
      'DB_CONTEXT_NOT_ACTIVE',
      'No database context is active here. Inside an HTTP handler the interceptor opens one. What runs ' +
        "before the handler (a middleware, a guard, passport's validate(), a request-scoped provider that " +
        "is made of a query) has one with mount: 'middleware'; a route under @SkipDbContext() has none. " +
        'In guards, field resolvers and loaders of GraphQL there is one with DbContextGraphQLModule of ' +
        '"nestjs-db-context/graphql", and the messages of a client stream of gRPC get that of their handler by ' +
        'dbContext.bind(). ' +
        'Elsewhere (cron job, queue consumer, script) wrap the work in dbContext.run(() => ...).',
    );
  }
}

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
   *   under way as the client was taken back
   */
  constructor(
    place: string | ErrorPlace,
    endedBy?: EndingCall,
    {
      because,
      brokenOff,
    }: {
      readonly because?: EndCause | undefined;
      readonly brokenOff?: { readonly cause?: unknown };
    } = {},
  ) {
    const fate =
      brokenOff === undefined ? 'this statement was not sent' : 'this query was broken off';
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

/**
 * What can end a unit of work while its code is still running.
 *
 * - `CLIENT_GONE`: its client went away, or the reader of its stream
 * - `REQUEST_GIVEN_UP`: what had called its handler, an interceptor for one, no longer waits for the answer
 * - `RESPONSE_CLOSED`: its response was closed before the handler began
 * - `SUBSCRIPTION_ENDED`: the subscription of GraphQL whose event it was has ended
 * - the others are the codes of the errors that say so
 *
 * @publicApi
 */
export type EndCode =
  | 'CLIENT_GONE'
  | 'REQUEST_GIVEN_UP'
  | 'RESPONSE_CLOSED'
  | 'SUBSCRIPTION_ENDED'
  | Extract<DbContextErrorCode, 'CONTEXT_TIMEOUT' | 'SHUTTING_DOWN' | 'STREAM_TIMEOUT'>;

/** What ended a context while its code was still running. */
export interface EndCause {
  readonly code: EndCode;
  /** Goes on after "because". */
  readonly what: string;
  readonly error?: DbContextError;
}

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
 * `stream()` was called for a statement that PostgreSQL gives no cursor for. Without one, all of its rows
 * would be in memory at once. Nothing was sent, and the transaction goes on.
 *
 * @publicApi
 */
export class StreamRefusedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly reason: StreamRefusalReason,
  ) {
    super(
      'STREAM_REFUSED',
      `stream() on connection ${named(place)} was given ${STREAM_REFUSALS[reason]}, for which ` +
        'PostgreSQL has no cursor: all of its rows would be in memory at once. It was not sent.',
      undefined,
      place,
    );
  }
}

const STREAM_REFUSALS: Readonly<Record<StreamRefusalReason, string>> = {
  'no-query':
    'a statement that is no SELECT, VALUES, TABLE or WITH (run it with execute(), which holds all of its ' +
    'rows, or stream a SELECT of what it wrote)',
  writes:
    'a query that writes, by a WITH or by INTO (run it with execute(), which holds all of its rows, or ' +
    'stream a SELECT of what it wrote)',
  'several-statements': 'several statements (stream them one by one)',
  'locks-rows':
    'a query that locks rows, outside of a transaction (leave the lock out, which would end with the ' +
    'statement, or stream inside a transaction)',
};

/**
 * A method under `@WithDbContext()`, `@NewDbContext()` or `@Atomic()` was called on an object that
 * Nest did not make.
 *
 * @publicApi
 */
export class DecoratorNotManagedError extends DbContextError {
  constructor(decorator: string, className: string, method: string) {
    super(
      'DECORATOR_NOT_MANAGED',
      `@${decorator}() on ${className}.${method} needs the DbContext service, which Nest gives only to ` +
        `what it makes itself. Make ${className} a provider or a controller and let Nest inject it, or ` +
        'call the DbContext service instead of using the decorator.',
    );
  }
}

/**
 * The application is shutting down: it refuses requests, which another instance may answer, opens no
 * context once all its consumers are closed, and has rolled back what ran for longer than
 * `shutdownTimeoutMs`. A request is answered with 503, whose `cause` this is.
 *
 * @publicApi
 */
export class ShuttingDownError extends DbContextError {
  /**
   * @param cutOff the origin of a context that was rolled back; if omitted, a new context was refused
   * @param refused the origin of the context that was refused
   */
  constructor(
    readonly cutOff?: string,
    readonly refused?: string,
  ) {
    super(
      'SHUTTING_DOWN',
      cutOff === undefined
        ? `The application is shutting down; no new database context is opened${forOrigin(refused)}. ` +
            'Retry on another instance.'
        : `The application is shutting down. The context of ${cutOff} took too long, and was rolled back. ` +
            'Retry on another instance, or raise shutdownTimeoutMs.',
    );
  }
}

function forOrigin(origin: string | undefined): string {
  return origin === undefined ? '' : ` for ${origin}`;
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
    'its session was closed, rolled back or taken out of the context by a branch that nobody awaits, ' +
    'while it was to be committed; await all branches',
  'context-ended':
    'its context had been ended before, because the client went away, its time was over, the application ' +
    'shuts down, or its code failed',
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

/**
 * A connection's `sessionVariables()` or `role()` threw, so its transaction did not begin. `cause` is
 * what was thrown.
 *
 * @publicApi
 */
export class ContextSettingsError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown) {
    super(
      'CONTEXT_SETTINGS_FAILED',
      `The variables or the role of row-level security for connection ${named(place)} could not be ` +
        `computed: ${describe(cause)}. The transaction did not begin, and nothing was sent.`,
      cause,
      place,
    );
  }
}

/**
 * The pool had no free connection within `acquireTimeoutMs`.
 *
 * @publicApi
 */
export class AcquireTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly timeoutMs: number,
    pool: { size: number; checkedOut: number; waiting: number },
  ) {
    super(
      'ACQUIRE_TIMEOUT',
      `No connection of ${named(place)} became free within ${timeoutMs} ms (pool of ${pool.size}, ` +
        `${pool.checkedOut} checked out, ${pool.waiting} waiting). Enlarge pool.max, shorten transactions, ` +
        'or raise acquireTimeoutMs.',
      undefined,
      place,
    );
  }
}

/**
 * All connections of a pool are held by contexts that wait, themselves or in a context inside of
 * them, for one more of this pool, or of a pool whose connections are held by contexts that wait for
 * this one: none of them could ever go on. One is refused, so that the others can.
 *
 * @publicApi
 */
export class PoolDeadlockError extends DbContextError {
  constructor(
    readonly connectionName: string,
    pool: { size: number; waiting: number },
    asker: ConnectionAsker = { isPast: false },
  ) {
    super(
      'POOL_DEADLOCK',
      `Every connection of "${connectionName}" (pool of ${pool.size}, ${pool.waiting} waiting) is held by a ` +
        'context that waits for one more, of this pool or of another one, so this one was refused' +
        `${forAsker(asker)}. Free the connection that is held (dbContext.commit() or close()) before work in ` +
        'a new context or session begins, use several connections in the same order everywhere, or enlarge ' +
        'pool.max.',
      undefined,
      { origin: asker.origin },
    );
  }
}

/** Who has asked for a connection, see {@link PoolDeadlockError}. */
export interface ConnectionAsker {
  /** The origin of its context. */
  readonly origin?: string | undefined;
  /** Whether it was asked for past the session of that context. */
  readonly isPast: boolean;
}

function forAsker({ origin, isPast }: ConnectionAsker): string {
  const who = origin === undefined ? '' : `. It was asked for in the context of ${origin}`;
  return isPast
    ? `${who}, past its session (a fork of the entity manager, @CreateRequestContext(), ` +
        'em.getConnection()), and takes a connection beside the one that the session holds: use the ' +
        'session instead'
    : who;
}

/**
 * The server could not be reached, or refused the connection. `cause` is the driver's error.
 *
 * @publicApi
 */
export class ConnectionFailedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown) {
    super(
      'CONNECTION_FAILED',
      `Could not connect to the database of connection ${named(place)}: ${describe(cause)}. ` +
        `${isOfMissingDatabase(cause) ? HOW_TO_CREATE : ''}The next request tries again; no restart is ` +
        'needed.',
      cause,
      place,
    );
  }
}

const HOW_TO_CREATE =
  'Create it, or set ensureDatabase: true among the options of the connection, with which MikroORM creates ' +
  'it before the first statement. ';

/** By the SQLSTATE of the server, `invalid_catalog_name`. */
function isOfMissingDatabase(cause: unknown): boolean {
  return (cause as { readonly code?: unknown } | null | undefined)?.code === '3D000';
}

/** Why a replica could not be used, see {@link ReplicasUnavailableError}. */
export interface ReplicaRefusal {
  /** Host and port, `db2:5432`. */
  readonly host: string;
  /** Why it could not be reached. */
  readonly error: unknown;
}

/**
 * No replica could be reached for a read-only transaction, and `readFrom: { fallback: 'error' }` keeps
 * the primary from serving it. `cause` is the error of the first replica.
 *
 * @publicApi
 */
export class ReplicasUnavailableError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly replicas: readonly ReplicaRefusal[],
  ) {
    const each = replicas.map(({ host, error }) => `${host}: ${describe(innermost(error))}`);
    super(
      'REPLICAS_UNAVAILABLE',
      `No replica of connection ${named(place)} could be reached (${each.join('; ')}). The next ` +
        "request tries again; with readFrom: { fallback: 'primary' } the primary serves meanwhile.",
      replicas[0]?.error,
      place,
    );
  }
}

/** The driver's error, where a {@link ConnectionFailedError} wraps it. */
function innermost(error: unknown): unknown {
  return error instanceof ConnectionFailedError ? error.cause : error;
}

/**
 * None of the hosts of the option `failover` is a primary just now. No connection was taken, and
 * nothing was sent.
 *
 * @publicApi
 */
export class NoPrimaryError extends DbContextError {
  constructor(
    readonly connectionName: string,
    /** What each host answered, in the order of the option. */
    readonly answers: readonly HostAnswer[],
  ) {
    const list = answers.map(
      ({ host, role, error }) => `${host}: ${error === undefined ? role : describe(error)}`,
    );
    super(
      'NO_PRIMARY',
      `No host of connection "${connectionName}" is a primary (${list.join('; ')}). Promote a standby; ` +
        'the next request looks again, no restart is needed.',
      answers.find(({ error }) => error !== undefined)?.error,
    );
  }
}

/**
 * A connection that `close()` had closed was used: by a session, by `connect()` or `changeHost()`, or through
 * `orm` itself; or a transaction or a wait for a client went on for longer than `drainTimeoutMs` after it.
 * Nothing of that transaction was saved.
 *
 * @publicApi
 */
export class ConnectionClosedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    /** How long what was cut off had gone on after the closing began, in milliseconds. */
    readonly cutOffAfterMs?: number,
  ) {
    super(
      'CONNECTION_CLOSED',
      `The connection ${named(place)} is closed, by close() or because the application shuts down; ` +
        (cutOffAfterMs === undefined
          ? 'no connection to its server is opened any more. End what uses it before that, or look at ' +
            'isClosed.'
          : `this was still using it ${cutOffAfterMs} ms later, and was cut off. End such work before ` +
            'the application closes, or raise drainTimeoutMs.'),
      undefined,
      place,
    );
  }
}

/**
 * The connection went to another host, and a transaction on the old one did not end within
 * `hostDrainTimeoutMs` (within `drainTimeoutMs` once the connection is closed). Nothing of it was
 * saved.
 *
 * @publicApi
 */
export class HostDrainTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    /** The old host. */
    readonly host: string,
    readonly timeoutMs: number,
  ) {
    super(
      'HOST_DRAIN_TIMEOUT',
      `The transaction on connection ${named(place)} was still open on ${host} ${timeoutMs} ms after ` +
        'the connection had changed to another host, and was ended; nothing of it was saved. Do the ' +
        'work again, shorten transactions, or raise hostDrainTimeoutMs.',
      undefined,
      place,
    );
  }
}

/**
 * A transaction was open for longer than `transactionTimeoutMs` and was ended; nothing of it was
 * saved.
 *
 * @publicApi
 */
export class TransactionTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly timeoutMs: number,
    /** What had kept the code from going on, where that is known: a sentence or more, with what to do about it. */
    obstacle?: string,
  ) {
    super(
      'TRANSACTION_TIMEOUT',
      `The transaction on connection ${named(place)} was open for more than ${timeoutMs} ms and was ` +
        'rolled back, so that its connection is free again. ' +
        (obstacle ?? 'Commit or close earlier around slow work, or raise transactionTimeoutMs.'),
      undefined,
      place,
    );
  }
}

/**
 * A context was open for longer than `contextTimeoutMs` and was rolled back; code that still runs in
 * it is refused. A request is answered with 503, whose `cause` this is.
 *
 * @publicApi
 */
export class ContextTimeoutError extends DbContextError {
  constructor(
    override readonly origin: string,
    readonly timeoutMs: number,
  ) {
    super(
      'CONTEXT_TIMEOUT',
      `The context of ${origin} was open for more than ${timeoutMs} ms and was rolled back. Find what ` +
        'never returns, do slow work outside of a request, or raise contextTimeoutMs.',
    );
  }
}

/**
 * A stream of `dbContext.stream()` was destroyed, since what it is made of has failed, or its commit;
 * `cause` is what was thrown. What was read of it before is not all of it.
 *
 * @publicApi
 */
export class StreamFailedError extends DbContextError {
  constructor(
    override readonly origin: string,
    cause: unknown,
  ) {
    super(
      'STREAM_FAILED',
      `${origin} failed and was destroyed; its context was rolled back. What was read of it is incomplete: ` +
        'let its reader discard that, or ask again. Its cause says why.',
      cause,
    );
  }
}

/**
 * A stream of `dbContext.stream()` was open for longer than its `timeoutMs`. It was destroyed, and its
 * context rolled back.
 *
 * @publicApi
 */
export class StreamTimeoutError extends DbContextError {
  constructor(
    override readonly origin: string,
    readonly timeoutMs: number,
  ) {
    super(
      'STREAM_TIMEOUT',
      `${origin} was open for more than ${timeoutMs} ms, and was destroyed so that its connection is free ` +
        'again. Look for a client that reads slowly, or raise its limit: ' +
        'dbContext.stream(source, { timeoutMs }).',
    );
  }
}

/**
 * A hook or a subscriber that a transaction waits for did not return. Before a commit that makes it
 * roll back; after one it is only logged.
 *
 * @publicApi
 */
export class HookTimeoutError extends DbContextError {
  /**
   * @param hook the name of the hook
   * @param timeoutMs how long it was waited for, in milliseconds
   * @param limit the name of the option that sets the limit; with `shutdownTimeoutMs`, which is a limit of the
   *   whole context, `timeoutMs` is less
   * @param place what it belonged to
   */
  constructor(
    readonly hook: string,
    readonly timeoutMs: number,
    readonly limit: string,
    place: Partial<ErrorPlace> = {},
  ) {
    const { connectionName } = place;
    const what = `${hook}${connectionName === undefined ? '' : ` on connection "${connectionName}"`}${within(place)}`;
    super(
      'HOOK_TIMEOUT',
      limit === 'shutdownTimeoutMs'
        ? `${what} had run for ${timeoutMs} ms as the time of the shutdown was over (${limit}), so it was not ` +
            'waited for any longer. Give what it calls a limit of its own, or raise shutdownTimeoutMs.'
        : `${what} did not return within ${timeoutMs} ms (${limit}), so it was not waited for any longer. ` +
            'Give what it calls a limit of its own, or do it outside of the transaction.',
      undefined,
      place,
    );
  }
}

/**
 * A job of a {@link CommittedQueue} was not sent after the commit that it had waited for, or not in time. The
 * work that it belongs to is saved, and its caller has been given a success; so this error is only in the
 * log. `cause` is the error of the queue.
 *
 * @publicApi
 */
export class JobNotSentError extends DbContextError {
  /**
   * Whether Redis has not answered in time. BullMQ then goes on trying for as long as the process lives, so
   * that the jobs may be in the queue by now; otherwise it has refused them.
   */
  readonly isLate: boolean;

  /**
   * @param queueName the name of the queue
   * @param jobNames the names of the jobs that were to be sent together
   * @param jobIds their ids, in the same order; `undefined` with `deduplication`
   * @param origin what was committed: `OrdersController.create`
   */
  constructor(
    readonly queueName: string,
    readonly jobNames: readonly string[],
    readonly jobIds: readonly (string | undefined)[],
    override readonly origin: string,
    cause: unknown,
  ) {
    const isLate = cause instanceof HookTimeoutError;
    const jobs = jobNames.map((name, index) => {
      const id = jobIds[index];
      return id === undefined ? name : `${name} (id ${id})`;
    });
    const start = `${jobs.join(', ')} for the queue "${queueName}" could not be sent after the commit of ${origin}`;
    super(
      'JOB_NOT_SENT',
      isLate
        ? `${start} within ${cause.timeoutMs} ms (${cause.limit}). The work is saved, and BullMQ goes on ` +
            'trying for as long as this process lives: look whether the queue has the job before you send ' +
            `it again. ${OUTBOX_ADVICE}`
        : `${start}: ${describe(cause).replace(/\.$/, '')}. The work is saved, and the job is lost: send it ` +
            `again with the same id, which the queue takes only once. ${OUTBOX_ADVICE}`,
      cause,
    );
    this.isLate = isLate;
  }
}

const OUTBOX_ADVICE =
  'A job that must not be lost belongs into the same database as the work (an outbox, docs/jobs.md).';

/**
 * A statement waited for a nested transaction of another branch for longer than
 * `savepointTimeoutMs`.
 *
 * @publicApi
 */
export class SavepointTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly timeoutMs: number,
  ) {
    super(
      'SAVEPOINT_TIMEOUT',
      `A statement on connection ${named(place)} waited more than ${timeoutMs} ms for a nested ` +
        'transaction of a parallel branch. Nested transactions of one session run one after another; ' +
        'do not let one wait for work that is outside it.',
      undefined,
      place,
    );
  }
}

// Node reports a refused connection to a host with several addresses as an AggregateError, whose own
// message is empty.
function describe(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) {
    return cause.errors.map((each) => describe(each)).join('; ');
  }
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
