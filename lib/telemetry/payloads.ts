import type { Outcome } from '../outcome.js';
import type { EndCode } from '../errors.js';
import type { ErrorInfo } from './error-info.js';
import type { UNMASKED } from './unmasked.js';

/** Counters of a pool, see `DbConnection.poolState()`. */
export interface PoolInfo {
  readonly size: number;
  readonly checkedOut: number;
  readonly idle: number;
  readonly waiting: number;
}

/**
 * A connection, as events name it: one object for each `DbConnection`.
 *
 * @publicApi
 */
export interface ConnectionInfo {
  readonly name: string;
  /** Host and port that new transactions go to. */
  readonly host: string;
  /** Name of the database. */
  readonly database: string | undefined;
  /**
   * The counters of its pools now; `undefined` while nothing has been asked of the database, and once it is
   * closed and nothing is in use any more.
   */
  readonly pool: PoolInfo | undefined;
}

/**
 * A unit of work, as events name it: one object for each.
 *
 * @publicApi
 */
export interface ContextInfo {
  /** What has opened it: `OrdersController.create`, `dbContext.run()`. */
  readonly origin: string;
  /** The one that it was opened in, and that goes on when this one ends. */
  readonly outer: ContextInfo | undefined;
  /** Whether it only stands for a session in no context, of `newSession()` or `newAtomicSession()`. */
  readonly isDetached: boolean;
  /** Which application it is of: the same object for all contexts of one `DbContextModule.forRoot()`. */
  readonly application: object;
  /** Its own limit in milliseconds, in place of the options `contextTimeoutMs` and `transactionTimeoutMs`. */
  readonly timeoutMs: number | undefined;
  /** When it was opened, by `performance.now()`; `undefined` where nobody listened then. */
  readonly openedAt: number | undefined;
}

/**
 * A transaction, as events name it: one object from its first event to its end.
 *
 * @publicApi
 */
export interface TransactionInfo {
  readonly connection: ConnectionInfo;
  /** The unit of work that it is part of; `undefined` for code in none. */
  readonly context: ContextInfo | undefined;
  /** When its first statement was asked for, by `performance.now()`; `undefined` where nobody listened then. */
  readonly startedAt: number | undefined;
  /** What it begins with; `undefined` until that is settled. */
  readonly isolationLevel: string | undefined;
  readonly isReadOnly: boolean | undefined;
  /** The process of the server that serves it; `undefined` while it has no connection. */
  readonly processId: number | undefined;
}

/**
 * The use of one connection outside of the transaction of a session: one object from the wait for the
 * connection to its release.
 *
 * @publicApi
 */
export interface ConnectionUse {
  /**
   * - `read`: a read ahead of the first write (`begin: 'first-write'`), which is a transaction by itself
   * - `autocommit`: statements in no transaction (propagation `not_supported`)
   */
  readonly kind: 'read' | 'autocommit';
  /** The process of the server that serves it; `undefined` while it has no connection. */
  readonly processId: number | undefined;
}

/**
 * A connection: `connection:close`.
 *
 * @publicApi
 */
export interface ConnectionEvent {
  readonly connection: ConnectionInfo;
}

/**
 * A unit of work: `context:open`.
 *
 * @publicApi
 */
export interface ContextEvent {
  readonly context: ContextInfo;
}

/**
 * What has ended a unit of work while its code was running.
 *
 * @publicApi
 */
export interface EndedBy {
  /** Stable; where it is the code of an error, that error is in the event as well. */
  readonly code: EndCode;
  /** Goes on after "because". */
  readonly what: string;
}

/**
 * How a unit of work has ended: `context:end`.
 *
 * @publicApi
 */
export interface ContextEndEvent extends ContextEvent {
  readonly outcome: 'committed' | 'rolled-back';
  /** Names of the connections that it had sessions of, in the order of their first use. */
  readonly connections: readonly string[];
  /** In milliseconds; `undefined` where nobody listened as it was opened. */
  readonly durationMs: number | undefined;
  /** Why it was rolled back, where that was not decided by its own code: its client left, its time was over. */
  readonly reason: string | undefined;
  /** The same with its code. */
  readonly endedBy: EndedBy | undefined;
  /** Why its commit has failed. */
  readonly error: ErrorInfo | undefined;
  /** What is not shown by default. */
  readonly [UNMASKED]: { readonly error: unknown };
}

/**
 * A transaction: `transaction:start`, `transaction:begin`.
 *
 * @publicApi
 */
export interface TransactionEvent {
  readonly transaction: TransactionInfo;
}

/**
 * How a transaction has ended: `transaction:end`.
 *
 * @publicApi
 */
export interface TransactionEndEvent extends TransactionEvent {
  readonly outcome: Outcome;
  /** From its start, in milliseconds; `undefined` where nobody listened then. */
  readonly durationMs: number | undefined;
  /**
   * What has ended its unit of work, where that is why it was rolled back, whatever of it was under way then;
   * `undefined` where it had failed before.
   */
  readonly endedBy: EndedBy | undefined;
  /**
   * Why it is not committed; `undefined` where it is, where its own code has rolled it back, and where
   * `endedBy` is no error (`CLIENT_GONE`).
   */
  readonly error: ErrorInfo | undefined;
  /** What is not shown by default. */
  readonly [UNMASKED]: { readonly error: unknown };
}

/**
 * A savepoint of a transaction: `savepoint:set`.
 *
 * @publicApi
 */
export interface SavepointEvent extends TransactionEvent {
  /** As the server knows it. */
  readonly name: string;
}

/**
 * How a savepoint has ended: `savepoint:end`.
 *
 * @publicApi
 */
export interface SavepointEndEvent extends SavepointEvent {
  /** `unknown`: it was open when the part of the transaction around it ended. */
  readonly outcome: 'committed' | 'rolled-back' | 'unknown';
}

/**
 * A hook of a context that has run: `hook:end`.
 *
 * @publicApi
 */
export interface HookEvent {
  /** The unit of work that it belongs to: a route, a call. */
  readonly origin: string;
  readonly kind: 'beforeCommit' | 'onCommit' | 'onRollback';
  readonly durationMs: number;
  /** What it has thrown. */
  readonly error: ErrorInfo | undefined;
}

/**
 * What has failed and is to be run again: `retry`.
 *
 * @publicApi
 */
export interface RetryEvent {
  /** What is run again: a route, `dbContext.runInNewContext()`, `atomic()`. */
  readonly origin: string;
  /** How often it has run. */
  readonly attempt: number;
  /** How long it waits before the next attempt. */
  readonly pauseMs: number;
  /** Why the last attempt failed; `undefined` for a GraphQL operation, whose errors are in its answer. */
  readonly error: ErrorInfo | undefined;
}

/**
 * A claim that waits since all clients of a pool are in use: `pool:wait`.
 *
 * @publicApi
 */
export interface PoolEvent {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly transaction: TransactionInfo | undefined;
  /** What the connection is for where it is for no transaction of a session. */
  readonly use: ConnectionUse | undefined;
  /** The counters of the pool that is meant, of a replica or the primary, at the time. */
  readonly pool: PoolInfo;
}

/**
 * A client that is not in use any more: `pool:release`.
 *
 * @publicApi
 */
export interface PoolReleaseEvent extends Omit<PoolEvent, 'pool'> {
  /** How long the client was in use, in milliseconds; `undefined` where nobody listened as it was taken. */
  readonly usedMs: number | undefined;
  /** Whether it was closed rather than given back. */
  readonly isDestroyed: boolean;
}

/**
 * New transactions go to another server, from host to host: `host:change`.
 *
 * @publicApi
 */
export interface HostChangeEvent {
  readonly connection: ConnectionInfo;
  readonly from: string;
  readonly to: string;
}

/**
 * The pool of a former host is closed: `host:drain`.
 *
 * @publicApi
 */
export interface HostDrainEvent {
  readonly connection: ConnectionInfo;
  /** The former host, whose pool is closed now. */
  readonly host: string;
  readonly durationMs: number;
  /** Whether transactions on it were ended because their time was over. */
  readonly isForced: boolean;
}

/**
 * A search for the primary is over: `failover`.
 *
 * @publicApi
 */
export interface FailoverEvent {
  readonly connection: ConnectionInfo;
  /** The primary; `undefined` where none was found. */
  readonly primary: string | undefined;
  readonly answers: readonly {
    readonly host: string;
    readonly role: string;
    readonly error: ErrorInfo | undefined;
  }[];
  readonly durationMs: number;
}

/**
 * A replica that cannot be reached, or can be again: `replica:leave`, `replica:return`.
 *
 * @publicApi
 */
export interface ReplicaEvent {
  readonly connection: ConnectionInfo;
  readonly host: string;
  /** Why it is left out; `undefined` where it is back. */
  readonly error: ErrorInfo | undefined;
}

/**
 * A read has waited for a replica to have the last write: `replica:wait`.
 *
 * @publicApi
 */
export interface ReplicaWaitEvent {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly durationMs: number;
  /** Whether a replica had replayed the write in time; if not, the primary serves. */
  readonly isReached: boolean;
}
