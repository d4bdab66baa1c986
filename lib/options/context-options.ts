import type { EntityManager } from '@mikro-orm/core';

import type { WatchOptions } from './watch-options.js';

/** One error of a GraphQL operation: what graphql-js calls a `GraphQLError`. */
export interface OperationError {
  readonly message: string;
  /** The keys and indexes that lead to the field in the answer; `undefined` where no field is to blame. */
  readonly path?: readonly (string | number)[] | undefined;
  /** What the resolver threw. */
  readonly originalError?: Error | null | undefined;
  readonly extensions?: Readonly<Record<string, unknown>> | undefined;
}

/** The outcome of a request, by which `commitOn` decides. */
export interface RequestOutcome {
  /** The value that the handler, a pipe or an inner interceptor threw; `undefined` when nothing was thrown. */
  readonly error?: unknown;
  /**
   * Whether something was thrown. Of an answer that a middleware, a guard or an exception filter has given
   * before a handler ran (`mount: 'middleware'`): whether its status is 400 or above.
   */
  readonly failed: boolean;
  /**
   * The HTTP status of the response, as far as it is known before it is sent: the status of the exception
   * (500 when it carries none), of a returned web `Response` or of a redirect, else that of the response
   * object. `undefined` for other transports.
   */
  readonly status: number | undefined;
  /**
   * The errors of a GraphQL operation, empty where it has none; `error` is what the first resolver threw.
   * `undefined` for all other requests.
   */
  readonly errors?: readonly OperationError[];
}

/**
 * Decides whether a context is committed.
 *
 * @returns `true` to commit, `false` to roll back. A policy that throws rolls back, and its error
 * becomes the response.
 *
 * @publicApi
 */
export type CommitPolicy = (outcome: RequestOutcome) => boolean;

/**
 * When the changes of a handler are written: as it returns, or with the commit.
 *
 * @publicApi
 */
export type FlushTime = 'handler' | 'commit';

/**
 * Options that hold for all contexts of an application.
 *
 * @publicApi
 */
export interface DbContextOptions {
  /**
   * What opens the context of a request. `interceptor`: a global interceptor, after the guards.
   * `middleware`: a middleware, before the guards; the interceptor settles the context, and where it never
   * runs (a guard refused, a middleware answered), the response is held back until the context is settled
   * by its status. `none`: nothing is registered; use `@UseInterceptors(DbContextInterceptor)`.
   * @defaultValue 'interceptor'
   */
  readonly mount?: 'interceptor' | 'middleware' | 'none';
  /**
   * Which requests commit.
   * @defaultValue {@link commitOnSuccess}: nothing was thrown and the status is below 400
   */
  readonly commitOn?: CommitPolicy;
  /**
   * When what a handler has changed is written. `handler`: as soon as it has returned, where anything
   * but this library sees what it returned: inner interceptors (`ClassSerializerInterceptor`) find
   * generated ids, and constraints fail, where a `flush()` at the end of the handler would show them. Of an
   * Observable each value is preceded by a flush. `commit`: together with the commit, after all inner
   * interceptors. See `@FlushOn()` for single routes.
   * @defaultValue 'handler'
   */
  readonly flush?: FlushTime;
  /**
   * What happens to the context when the client disconnects while a Promise handler runs. `finish`:
   * the handler runs on and settles as usual. `rollback`: the context is rolled back at once, and
   * later statements of the handler are refused. An Observable handler is always rolled back.
   * @defaultValue 'finish'
   */
  readonly onDisconnect?: 'finish' | 'rollback';
  /**
   * Makes a response for trial before the commit, so that one that cannot be serialized (a BigInt, a cycle)
   * fails with nothing saved. It is made twice then; streams and binary bodies are left alone.
   * @defaultValue false
   */
  readonly serializeFirst?: boolean;
  /**
   * The HTTP methods whose requests have read-only transactions, which replicas may serve. A `readOnly` of
   * `@DbTransaction()` or of the `transaction` of a connection wins.
   * @defaultValue none
   */
  readonly readOnlyMethods?: readonly string[];
  /**
   * Called once for each session that is about to commit, inside its transaction and before its
   * flush. Throwing vetoes the commit.
   */
  readonly beforeCommit?: (session: EntityManager, connectionName: string) => unknown;
  /**
   * How long the end of a context waits for one hook, in milliseconds. A `beforeCommit` hook that
   * takes longer vetoes the commit; any other hook is logged, and no longer waited for.
   * @defaultValue 10_000
   */
  readonly hookTimeoutMs?: number;
  /**
   * Longest time that a context may be open, in milliseconds; it is then rolled back, and its request
   * is answered with 503 (`ContextTimeoutError`), even while its handler still runs. Without it a handler
   * that never returns still loses its connection, see `transactionTimeoutMs`.
   * @defaultValue no limit
   */
  readonly contextTimeoutMs?: number;
  /**
   * Warns of code that works in development and does harm in production: a context that stays open, a
   * connection that is held without a statement, use of a session after its end, flushes at the same
   * time. Each warning names the route and the place in the code.
   * @defaultValue on, unless `NODE_ENV` is `production`
   */
  readonly watch?: boolean | WatchOptions;
  /**
   * On shutdown, how long running contexts may go on before they are rolled back, in milliseconds. Their
   * hooks are not waited for after that either.
   * @defaultValue 10_000
   */
  readonly shutdownTimeoutMs?: number;
}
