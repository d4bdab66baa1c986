import type { EntityManager, MikroORM, Options } from '@mikro-orm/core';
import type { ClsService } from 'nestjs-cls';

// oxlint-disable-next-line no-restricted-imports -- a type, of what `beforeSession` is given
import type { DbConnection } from './connection/db-connection.js';
import type { SessionVariables, TransactionSettings } from './postgresql/transaction-settings.js';
import type { ConnectionReadOptions } from './replica.options.js';

/** Name of the connection that is meant where none is given. */
export const DEFAULT_CONNECTION_NAME = 'default';

/**
 * Limits on everything that waits, in milliseconds. All are finite, so no fault can hold a
 * connection or a caller for ever.
 *
 * @publicApi
 */
export interface ConnectionLimits {
  /**
   * Longest wait for a free or a new connection.
   * @defaultValue 10_000
   */
  readonly acquireTimeoutMs?: number;
  /**
   * How long a wait for a connection goes on before it is looked whether it can end at all, and
   * between two looks; see {@link PoolDeadlockError}.
   * @defaultValue 1_000
   */
  readonly deadlockTimeoutMs?: number;
  /**
   * Longest time that one transaction may stay open; after it the transaction is rolled back and
   * its connection freed, whatever the code that holds it is doing.
   * @defaultValue 60_000
   */
  readonly transactionTimeoutMs?: number;
  /**
   * How long the end of a transaction waits for statements that are still running. After it they
   * are cancelled and the connection is destroyed.
   * @defaultValue 5_000
   */
  readonly drainTimeoutMs?: number;
  /**
   * Longest wait for the server's answer to COMMIT or ROLLBACK.
   * @defaultValue 10_000
   */
  readonly endTimeoutMs?: number;
  /**
   * How long a statement waits for a nested transaction of a parallel branch of the same session.
   * @defaultValue 30_000
   */
  readonly savepointTimeoutMs?: number;
  /**
   * After {@link DbConnection.changeHost}, how long transactions on the old host may go on. What is
   * left is ended, and the old pool closed.
   * @defaultValue 30_000
   */
  readonly hostDrainTimeoutMs?: number;
}

/**
 * How the transactions of a connection begin, unless a route or a call says otherwise.
 *
 * @publicApi
 */
export interface ConnectionTransactionOptions {
  /** Settings of every transaction. */
  readonly transaction?: TransactionSettings;
  /**
   * Variables of the current context, for row-level security. Called when a transaction begins,
   * before it takes a connection, in the async scope of its first statement; what it throws fails
   * that statement. It cannot use the session that it is called for.
   */
  readonly sessionVariables?: (cls: ClsService) => SessionVariables | Promise<SessionVariables>;
  /** The role of every transaction, or of the current context; called as `sessionVariables` is. */
  readonly role?: string | ((cls: ClsService) => string | undefined);
  /**
   * Awaited each time before a transaction takes its connection, before `sessionVariables`; may look
   * for the primary and call `connection.changeHost()`. What it throws fails the statement that the
   * transaction would have begun for; after `acquireTimeoutMs` that is {@link HookTimeoutError}. It
   * cannot use sessions of this connection.
   */
  readonly beforeSession?: (connection: DbConnection) => void | Promise<void>;
  /**
   * Keeps the connection on the primary of several hosts; see {@link FailoverOptions}. Without it the
   * connection goes where its options and `changeHost()` say.
   */
  readonly failover?: FailoverOptions;
}

/**
 * How a connection finds the primary: before a transaction takes its connection each host is asked
 * whether it is one, and {@link DbConnection.changeHost} does the rest. The answer holds for `cacheMs`,
 * and is forgotten at once when a connection is lost or refused, the server shuts down, or a write
 * meets a standby. Where no host is a primary, the statement fails with {@link NoPrimaryError}.
 *
 * @example
 * ```ts
 * { ...defineConfig({ clientUrl, entities }), failover: { hosts: ['db1:5432', 'db2:5432'] } }
 * ```
 *
 * @publicApi
 */
export interface FailoverOptions {
  /** Every server that may be the primary, at least two, each as in `changeHost()`. */
  readonly hosts: readonly string[];
  /**
   * Longest wait for the answer of one host, in milliseconds.
   * @defaultValue 2_000
   */
  readonly timeoutMs?: number;
  /**
   * How long a primary that was found is taken for one without asking again, in milliseconds.
   * @defaultValue 5_000
   */
  readonly cacheMs?: number;
}

/**
 * One named database. Either `orm` (a `MikroORM` that the application already has) or MikroORM's
 * own options.
 *
 * @example
 * ```ts
 * import { defineConfig } from '@mikro-orm/postgresql';
 *
 * DbContextModule.forRoot({
 *   connections: [
 *     defineConfig({ clientUrl: process.env.DATABASE_URL, entities: [Account] }),
 *     { name: 'audit', ...defineConfig({ clientUrl: process.env.AUDIT_URL, entities: [AuditEntry] }) },
 *   ],
 * });
 * ```
 *
 * @publicApi
 */
export type DbConnectionOptions = ConnectionLimits &
  ConnectionTransactionOptions &
  ConnectionReadOptions & {
    /**
     * Name of the connection, for `@InjectSession(name)`.
     * @defaultValue 'default'
     */
    readonly name?: string;
  } & (
    | {
        /**
         * An initialised MikroORM. It stays the application's: it is used and never closed here.
         * Its pool keeps its own settings; set `connectionTimeoutMillis` there.
         */
        readonly orm: MikroORM;
      }
    | (Omit<Partial<Options>, 'name'> & { readonly orm?: never })
  );

/** What `commitOn` decides by. */
export interface RequestOutcome {
  /** What the handler, a pipe or an inner interceptor threw; `undefined` when nothing was thrown. */
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
   * What becomes of the context when the client goes away while a Promise handler runs. `finish`:
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
   * is answered with 503 (`ContextTimeoutError`), whatever its handler is doing. Without it a handler
   * that never returns still loses its connection, see `transactionTimeoutMs`.
   * @defaultValue no limit
   */
  readonly contextTimeoutMs?: number;
  /**
   * Warns of what works in development and hurts in production: a context that stays open, a
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

/**
 * When the watch of development warns, in milliseconds.
 *
 * @publicApi
 */
export interface WatchOptions {
  /**
   * How long a context may be open.
   * @defaultValue 10_000
   */
  readonly contextOpenMs?: number;
  /**
   * How long a session may hold its connection without a statement.
   * @defaultValue 1_000
   */
  readonly idleInTransactionMs?: number;
}

/** Defaults of every option, in one place. */
export const DEFAULTS = {
  acquireTimeoutMs: 10_000,
  deadlockTimeoutMs: 1_000,
  transactionTimeoutMs: 60_000,
  drainTimeoutMs: 5_000,
  endTimeoutMs: 10_000,
  savepointTimeoutMs: 30_000,
  hostDrainTimeoutMs: 30_000,
  failover: { timeoutMs: 2_000, cacheMs: 5_000 },
  mount: 'interceptor',
  onDisconnect: 'finish',
  shutdownTimeoutMs: 10_000,
  hookTimeoutMs: 10_000,
  watch: { contextOpenMs: 10_000, idleInTransactionMs: 1_000 },
} as const satisfies Required<ConnectionLimits> & {
  readonly failover: Required<Omit<FailoverOptions, 'hosts'>>;
} & Omit<
    Required<DbContextOptions>,
    'commitOn' | 'beforeCommit' | 'contextTimeoutMs' | 'readOnlyMethods'
  >;
