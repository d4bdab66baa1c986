import type { EntityManager } from '@mikro-orm/core';

import type { WatchOptions } from './watch-options.js';

/** The outcome of a request, by which `commitOn` decides. */
export interface RequestOutcome {
  /** The value that the handler, a pipe or an inner interceptor threw; `undefined` when nothing was thrown. */
  readonly error?: unknown;
  /** Whether something was thrown. */
  readonly failed: boolean;
  /**
   * HTTP status of the response to come, as far as it is known before it is sent: of the exception
   * (500 when it carries none), of a returned web `Response`, of a redirect, else of the response
   * object. `undefined` for other transports.
   */
  readonly status: number | undefined;
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
 * Options that hold for all contexts of an application.
 *
 * @publicApi
 */
export interface DbContextOptions {
  /**
   * What opens the context of a request. `interceptor`: a global interceptor, after the guards.
   * `middleware`: a middleware, before the guards, settled by the interceptor; when that never
   * ran (a guard refused), rolled back as the response closes. `none`: nothing is registered; use
   * `@UseInterceptors(DbContextInterceptor)`.
   * @defaultValue 'interceptor'
   */
  readonly mount?: 'interceptor' | 'middleware' | 'none';
  /**
   * Which requests commit.
   * @defaultValue {@link commitOnSuccess}: nothing was thrown and the status is below 400
   */
  readonly commitOn?: CommitPolicy;
  /**
   * What happens to the context when the client goes away while a Promise handler runs. `finish`:
   * the handler runs on and settles as usual. `rollback`: the context is rolled back at once, and
   * later statements of the handler are refused. An Observable handler is always rolled back.
   * @defaultValue 'finish'
   */
  readonly onDisconnect?: 'finish' | 'rollback';
  /**
   * Methods whose HTTP requests have read-only transactions, which replicas may serve. What a
   * `@DbTransaction({ readOnly })` or the `transaction` of a connection says wins.
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
   * takes longer vetoes the commit; any other is logged, and not waited for.
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
   * Warns of code that works in development and hurts in production: a context that stays open, a
   * connection that is held while nothing is asked of it, use after the end, flushes at the same
   * time. Each warning names the route and the place in the code.
   * @defaultValue on, unless `NODE_ENV` is `production`
   */
  readonly watch?: boolean | WatchOptions;
  /**
   * On shutdown, how long running contexts may go on before they are rolled back, in milliseconds.
   * @defaultValue 10_000
   */
  readonly shutdownTimeoutMs?: number;
}
