import type { MikroORM, Options } from '@mikro-orm/core';
import type { ClsService } from 'nestjs-cls';

import type { ConnectionLimits } from '../connection/connection-limits.js';
import type { DbConnection } from '../connection/db-connection.js';
import type { SessionVariables, TransactionSettings } from '../postgresql/transaction-settings.js';
import type { FailoverOptions } from './failover-options.js';
import type { ConnectionReadOptions } from './replica-options.js';

/**
 * How the transactions of a connection begin, unless a route or a call says otherwise.
 *
 * @publicApi
 */
export interface ConnectionTransactionOptions {
  /** Settings of every transaction. */
  readonly transaction?: TransactionSettings;
  /**
   * Returns variables of the current context, for row-level security. It is called when a transaction
   * begins, before it takes a connection, in the async context of its first statement, which fails if this
   * throws. It cannot use the session that it is called for.
   */
  readonly sessionVariables?: (cls: ClsService) => SessionVariables | Promise<SessionVariables>;
  /** The role of every transaction, or of the current context; called as `sessionVariables` is. */
  readonly role?: string | ((cls: ClsService) => string | undefined);
  /**
   * Is awaited each time before a transaction takes its connection, before `sessionVariables`. It may
   * look for the primary and call `connection.changeHost()`. If it throws, the first statement of the
   * transaction fails with {@link BeforeSessionError}; after `acquireTimeoutMs` it fails with
   * {@link HookTimeoutError}. The hook cannot use sessions of this connection.
   */
  readonly beforeSession?: (connection: DbConnection) => void | Promise<void>;
  /**
   * Keeps the connection on the primary of several hosts; see {@link FailoverOptions}. Without it the
   * connection goes where its options and `changeHost()` say.
   */
  readonly failover?: FailoverOptions;
}

/**
 * What happens to what a request leaves in the session of a pooled connection.
 *
 * @publicApi
 */
export interface ConnectionResetOptions {
  /**
   * When a connection is reset (`DISCARD ALL`) before another user gets it. `auto`: when statements have
   * left something in its session that outlives the transaction: a variable or a role that was set, a
   * temporary table, an advisory lock, `LISTEN`, a prepared statement, a cursor `WITH HOLD`. What a function
   * of the database sets is not seen. `always`: each time, which costs the connection a round trip, and is
   * what row-level security needs. `never`: not at all. A connection that cannot be reset, also not within
   * `endTimeoutMs`, is closed.
   * @defaultValue 'auto'
   */
  readonly resetOnRelease?: 'auto' | 'always' | 'never';
}

/**
 * What MikroORM's own objects are inside of a context.
 *
 * @publicApi
 */
export interface ConnectionGlobalOptions {
  /**
   * What the global entity manager (`orm.em`) is inside of a context, and with it what is made of it:
   * repositories, what `@mikro-orm/nestjs` injects, `@Transactional()`. `session`: the session, so that code
   * that knows nothing of this library works in the transaction of the context. `own`: MikroORM's own, past
   * the session. Outside of a context it is MikroORM's own in any case. Where several connections share an
   * `orm`, it is the session of the first one that has `session`.
   * @defaultValue 'session'
   */
  readonly globalEntityManager?: 'session' | 'own';
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
  ConnectionReadOptions &
  ConnectionResetOptions &
  ConnectionGlobalOptions & {
    /**
     * Name of the connection, for `@InjectSession(name)`.
     * @defaultValue 'default'
     */
    readonly name?: string;
  } & (
    | {
        /**
         * An initialised MikroORM. It belongs to the application, and is never closed by this library.
         * Its pool keeps its own settings; set `connectionTimeoutMillis` there.
         */
        readonly orm: MikroORM;
      }
    | (Omit<Partial<Options>, 'name'> & { readonly orm?: never })
  );
