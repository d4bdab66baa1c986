import type { EntityManager } from '@mikro-orm/core';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { SessionClosedError } from '../errors.js';
import type { TransactionClient } from '../postgresql/transaction-client.js';
import type { Session } from '../session/session.js';
import type { Context } from './context.js';
import type { HookCallback, HookKind } from './hook-calls.js';
import { chosenConnection, type ConnectionChoice } from './run-options.js';
import { UnitsOfWork } from './units-of-work.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/**
 * The context of the current unit of work: its sessions, and the ways to end them early. The
 * interceptor opens and settles one per request; `run()` does so anywhere else.
 *
 * @example
 * ```ts
 * // a cron job, which no interceptor reaches
 * await this.dbContext.run(async () => {
 *   await this.invoices.sendDue();
 * });
 * ```
 *
 * @publicApi
 */
export class DbContext extends UnitsOfWork {
  /** Whether the calling code runs in a context that has not been settled. */
  isActive(): boolean {
    return this.registry.active() !== undefined;
  }

  /**
   * The session of the current context, as `@InjectSession(name)` injects it.
   *
   * @typeParam E the driver's EntityManager, for its query builder and Kysely
   * @param name name of the connection; the default one if omitted
   * @throws {@link DbContextNotActiveError} no context is active
   * @throws {@link SessionClosedError} the context has been settled
   * @throws {@link UnknownConnectionError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  session<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E {
    this.registry.requireOpen(name);
    return this.registry.connections.handle(name) as E;
  }

  /**
   * Runs `callback` with pg's own client in the transaction of the session, for what only that can do
   * (COPY, cursors, large objects) and for other libraries that are to join the transaction. It begins
   * the transaction where nothing has begun. Statements of the session wait until `callback` has
   * returned, and those that `callback` itself asks for are refused.
   *
   * The client is of no use afterwards, and is never released by `callback`.
   *
   * @typeParam C the class that the caller's driver has for a client, such as `PoolClient` of pg
   * @returns what `callback` returns
   * @throws what `callback` throws, as pg throws it, or why the transaction is over
   * @throws {@link InvalidTransactionStateError} a query, a copy or a cursor had not ended as `callback`
   *   returned, whereupon nothing is saved; or the call is inside of another `withClient()`, of
   *   "not_supported", or of the transaction of another session (`em.fork().transactional()`)
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError},
   *   {@link UnknownConnectionError}
   * @example
   * ```ts
   * await this.dbContext.withClient(async (client: PoolClient) => {
   *   await pipeline(file, client.query(copyFrom('copy note (text) from stdin')));
   * });
   * ```
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  async withClient<T, C extends object = TransactionClient>(
    callback: (client: C) => T | Promise<T>,
    options: ConnectionChoice = {},
  ): Promise<T> {
    const connection = chosenConnection(options, 'withClient()');
    const context = this.registry.requireOpen(connection);
    context.assertFollows('withClient()', connection);
    const session = context.session(connection);
    return session.lend((client) => callback(client as C));
  }

  /**
   * Commits one session now, without waiting for the end of the context; the next statement begins
   * a new transaction. Nothing happens where the context has no session for the connection.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   * @throws {@link UnexpectedRollbackError}, {@link CommitOutcomeUnknownError}, or MikroORM's
   *   exception for the server's error; the session is then gone and a new one takes its place
   */
  async commit(name: string = DEFAULT_CONNECTION_NAME): Promise<void> {
    await this.#toEnd(name, 'commit')?.manager.commit();
  }

  /**
   * Rolls one session back now and forgets its entities; the next statement begins a new
   * transaction.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  async rollback(name: string = DEFAULT_CONNECTION_NAME): Promise<void> {
    await this.#toEnd(name, 'rollback')?.manager.rollback();
  }

  /**
   * Rolls one session back and drops it, so that its connection is free; the next use makes a new
   * session.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  async close(name: string = DEFAULT_CONNECTION_NAME): Promise<void> {
    const session = this.#existing(name);
    const context = this.registry.requireOpen(name);
    context.assertNotElsewhere(name, 'close');
    if (session !== undefined) {
      session.assertNotNested('close');
      context.ends.assertEndsAlone(name, 'close');
      await context.early.close([session]);
    }
  }

  /**
   * Commits all sessions of the context now: all are flushed before the first is committed.
   *
   * @throws {@link PartialCommitError} one failed after another had been committed
   * @throws what {@link DbContext.commit} throws
   */
  async commitAll(): Promise<void> {
    await this.#openFor('commitAll').early.commit();
  }

  /**
   * Rolls all sessions of the context back now, also where another one fails.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  async rollbackAll(): Promise<void> {
    await this.#openFor('rollbackAll').early.rollback();
  }

  /**
   * Closes all sessions of the context now, also where another one fails.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  async closeAll(): Promise<void> {
    const context = this.#openFor('closeAll');
    await context.early.close(context.sessions);
  }

  /**
   * Forbids the commit: from here on every commit of the context, or with `connection` of that session,
   * is refused, its end included. `rollbackAll()`, or `rollback()` of the session, allows it again.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError},
   *   {@link UnknownConnectionError}
   */
  rollbackOnly(options: ConnectionChoice = {}): void {
    const name = chosenConnection(options, 'rollbackOnly()');
    this.registry.requireOpen(name).rollbackOnly(options.connection);
  }

  /**
   * Runs `callback` before the commit, inside the transaction; what it throws vetoes the commit.
   *
   * A hook is bound to the whole context, or with `connection` to the transaction of that one, and
   * then also runs at an early commit. It is discarded when a transaction or a savepoint that it was
   * registered in is rolled back.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError},
   *   {@link UnknownConnectionError}
   */
  beforeCommit(callback: HookCallback, options: ConnectionChoice = {}): void {
    this.#addHook('beforeCommit', callback, options);
  }

  /**
   * Runs `callback` when the work is committed: after all commits of the context, or with
   * `connection` after the next commit of that one. Hooks run in the order in which they were
   * registered and are awaited (`hookTimeoutMs`), before the response leaves; what one throws is
   * logged, and changes nothing. What a hook does with a session is in a context of its own.
   *
   * Discarded when a transaction or a savepoint that it was registered in is rolled back. In a transaction of
   * its own of the session (`requires_new`) a hook with `connection` follows that one.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError},
   *   {@link UnknownConnectionError}
   * @throws {@link InvalidTransactionStateError} the call is inside of the transaction of another session
   *   (`em.fork().transactional()`), of whose end the context does not learn
   */
  onCommit(callback: HookCallback, options: ConnectionChoice = {}): void {
    this.#addHook('onCommit', callback, options);
  }

  /**
   * Runs `callback` when the transaction or the context that it was registered in is rolled back;
   * otherwise as {@link DbContext.onCommit}. Without `connection` it follows the context as a whole: it also
   * runs where the context fails after an early commit, or an `atomic()` block, has saved what was done
   * before. With `connection` it is over with that commit.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError},
   *   {@link UnknownConnectionError}
   */
  onRollback(callback: HookCallback, options: ConnectionChoice = {}): void {
    this.#addHook('onRollback', callback, options);
  }

  /**
   * The session itself, if the context has one: the entity manager behind the injected one. For
   * transports of your own, together with `putSession` and `popSession`.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  getSession<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E | undefined {
    return this.#existing(name)?.manager as E | undefined;
  }

  /**
   * Makes an entity manager the session of the current context, which settles it from now on: one
   * that `popSession` gave, or a plain fork.
   *
   * @throws {@link InvalidTransactionStateError} the fork is in a transaction of its own, or there
   *   is a session already
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError},
   *   {@link UnknownConnectionError}
   */
  putSession(session: EntityManager, name: string = DEFAULT_CONNECTION_NAME): void {
    this.registry.requireOpen(name).put(name, session);
  }

  /**
   * Takes the session out of the context, which then does not settle it: that is up to the caller,
   * by its `commit()` or `rollback()`.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}, {@link UnknownConnectionError}
   * @throws {@link InvalidTransactionStateError} the call is part of a flush of the session, or of its end
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  popSession<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E | undefined {
    const context = this.registry.require();
    this.registry.connections.factory(name);
    context.existing(name)?.assertOutsideCode('popSession');
    context.ends.assertEndsAlone(name, 'popSession');
    return context.pop(name)?.manager as E | undefined;
  }

  #addHook(kind: HookKind, callback: HookCallback, options: ConnectionChoice): void {
    const name = chosenConnection(options, `${kind}()`);
    this.registry.requireOpen(name).addHook(kind, callback, options.connection);
  }

  #toEnd(name: string, verb: string): Session | undefined {
    const context = this.registry.require();
    const session = context.toEnd(name);
    context.assertNotElsewhere(name, verb);
    return session;
  }

  #existing(name: string): Session | undefined {
    const context = this.registry.requireOpen(name);
    this.registry.connections.factory(name);
    return context.existing(name);
  }

  #openFor(verb: string): Context {
    const context = this.registry.require();
    if (context.isClosed) {
      const [name = DEFAULT_CONNECTION_NAME] = context.connectionNames;
      throw new SessionClosedError(context.placeOf(name));
    }
    for (const session of context.sessions) {
      session.assertNotNested(verb);
      context.assertNotElsewhere(session.connectionName, verb);
      context.ends.assertEndsAlone(session.connectionName, verb);
    }
    return context;
  }
}
