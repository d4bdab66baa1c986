import { AsyncLocalStorage } from 'node:async_hooks';
import type { Readable } from 'node:stream';

import type { EntityManager } from '@mikro-orm/core';
import { Logger } from '@nestjs/common';
import type { Observable } from 'rxjs';

import type { Projection } from '../context/bound-observable.js';
import { checkConcurrency, runBounded, type RunAllResults } from '../context/bounded.js';
import { DbContext } from '../context/db-context.service.js';
import { endBy } from '../context/end-by.js';
import type { HookCallback } from '../context/hook-calls.js';
import type {
  AtomicOptions,
  ConnectionChoice,
  RunAllOptions,
  RunOptions,
} from '../context/run-options.js';
import type { StreamOptions, StreamSource } from '../context/stream-options.js';
import {
  InvalidTransactionStateError,
  UnexpectedRollbackError,
  UnknownConnectionError,
} from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import type { TransactionClient } from '../postgresql/transaction-client.js';
import { HookList } from './hook-list.js';
import { retryAtOnce } from './retry-at-once.js';
import { streamDouble } from './stream-double.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/** Doubles of sessions, by the names of their connections. */
export type TestSessions = Readonly<Record<string, object>>;

/** How a {@link TestDbContext} ends. */
export type TestOutcome = 'committed' | 'rolled-back';

/**
 * A {@link DbContext} without a database, for unit tests: it calls what it is given, with doubles of
 * sessions, and runs hooks as the real one does. The test itself is in a context as well, which
 * ends when {@link TestDbContext.settle} is called.
 *
 * There are no transactions in it: what a block that failed did to a double stays done.
 *
 * @example
 * ```ts
 * const dbContext = new TestDbContext({ default: session });
 * const orders = new OrderService(session, dbContext);
 * ```
 * @publicApi
 */
export class TestDbContext extends DbContext {
  readonly #sessions: Map<string, object>;
  readonly #current = new AsyncLocalStorage<HookList>();
  readonly #logger = new Logger(TestDbContext.name);
  readonly #report = (error: unknown): void =>
    this.#logger.error('A hook or function failed', error);
  readonly #own = this.#newHooks();

  /** @param sessions by the names of their connections; `default` is the one of `@InjectSession()` */
  constructor(sessions: TestSessions = {}) {
    // Every method is overridden, so there is no application that it could ask.
    super(undefined as never);
    this.#sessions = new Map(Object.entries(sessions));
  }

  /**
   * Ends the context that the test itself is in, and runs the hooks that were registered in it; those
   * of `run()` and the like run by themselves. The next hook belongs to a new context.
   *
   * @throws what a `beforeCommit` hook throws; the outcome is then `rolled-back`
   */
  async settle(outcome: TestOutcome = 'committed'): Promise<void> {
    if (outcome === 'committed') {
      await this.#own.commit();
    } else {
      await this.#own.rollBack();
    }
  }

  /** @returns true: a unit test stands for code in a request */
  override isActive(): boolean {
    return true;
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override session<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E {
    const session = this.#sessions.get(name);
    if (session === undefined) {
      throw new UnknownConnectionError(
        name,
        [...this.#sessions.keys()],
        'A TestDbContext was asked for a session that it was not given. ',
      );
    }
    return session as E;
  }

  override async run<T>(callback: () => T | Promise<T>, options: RunOptions<T> = {}): Promise<T> {
    return this.#current.getStore() === undefined
      ? this.runInNewContext(callback, options)
      : callback();
  }

  override async runInNewContext<T>(
    callback: () => T | Promise<T>,
    { retry, name = 'runInNewContext()', ...options }: RunOptions<T> = {},
  ): Promise<T> {
    return retryAtOnce(retry, () => {
      const hooks = this.#newHooks();
      // What a beforeCommit hook registers belongs to the same context.
      const inside = <R>(work: () => R): R => this.#current.run(hooks, work);
      const rollback = (): Promise<void> => inside(() => hooks.rollBack());
      const commit = (): Promise<void> => inside(() => hooks.commit());
      const ends = { origin: name, commit, rollback, abandon: rollback };
      return endBy(ends, options, () => inside(callback));
    });
  }

  override async runAllInNewContexts<const T extends readonly (() => unknown)[]>(
    callbacks: T,
    { concurrency = Math.max(1, callbacks.length), retry }: RunAllOptions = {},
  ): Promise<RunAllResults<T>> {
    checkConcurrency(concurrency);
    const runs = callbacks.map(
      (callback) => () => this.runInNewContext(callback, retry === undefined ? {} : { retry }),
    );
    return runBounded(runs, concurrency, this.#report) as Promise<RunAllResults<T>>;
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override async atomic<T, E extends EntityManager = DriverEntityManager>(
    callback: (session: E) => T | Promise<T>,
    { connection = DEFAULT_CONNECTION_NAME, current, retry, ...options }: AtomicOptions = {},
  ): Promise<T> {
    return retryAtOnce(retry, () => {
      const outer = this.#hooks();
      const block = this.#newHooks();
      const rollback = async (): Promise<void> => {
        await block.rollBack();
        if (options.onError === 'rollback-only') {
          this.rollbackOnly({ connection });
        }
      };
      const commit = async (): Promise<void> => {
        outer.take(block);
        if (current !== 'savepoint') {
          await outer.commitEarly(connection);
        }
      };
      const ends = { origin: 'atomic()', commit, rollback, abandon: rollback };
      const { commitOnError } = options;
      // A decorated method takes no session, so none need be given.
      return endBy(ends, { commitOnError }, () =>
        this.#current.run(block, async () => callback(this.#sessions.get(connection) as E)),
      );
    });
  }

  /** @internal */
  override demand(): void {
    // A double has no transactions.
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override async newSession<T, E extends EntityManager = DriverEntityManager>(
    callback: (session: E) => T | Promise<T>,
    { connection }: ConnectionChoice = {},
  ): Promise<T> {
    return callback(this.session<E>(connection));
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override async newAtomicSession<T, E extends EntityManager = DriverEntityManager>(
    callback: (session: E) => T | Promise<T>,
    { connection }: ConnectionChoice = {},
  ): Promise<T> {
    return callback(this.session<E>(connection));
  }

  /** @internal */
  protected override makeStream(
    source: StreamSource<unknown, never>,
    options: StreamOptions,
  ): Readable {
    const hooks = this.#newHooks();
    const inside = <R>(work: () => R): R => this.#current.run(hooks, work);
    // A source may take no session, so none need be given.
    const session = this.#sessions.get(options.connection ?? DEFAULT_CONNECTION_NAME);
    return streamDouble((signal) => source(session as never, signal), hooks, inside, options);
  }

  /** @internal */
  protected override bindValues<T, R>(
    source: Observable<T>,
    project: Projection<T, R>,
  ): Observable<R> {
    return project(source);
  }

  /**
   * Refuses: a double has no connection whose client could be lent.
   *
   * @throws {@link InvalidTransactionStateError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override async withClient<T, C extends object = TransactionClient>(
    _callback: (client: C) => T | Promise<T>,
    { connection = DEFAULT_CONNECTION_NAME }: ConnectionChoice = {},
  ): Promise<T> {
    throw new InvalidTransactionStateError(
      connection,
      'withClient() was called on a TestDbContext, which has no database. Test code that uses it with ' +
        'useTestTransaction(), or give it a subclass of TestDbContext whose withClient() calls back with a ' +
        'double.',
    );
  }

  override async commit(name: string = DEFAULT_CONNECTION_NAME): Promise<void> {
    await this.#hooks().commitEarly(name);
  }

  override async rollback(name: string = DEFAULT_CONNECTION_NAME): Promise<void> {
    await this.#hooks().rollBackEarly(name);
  }

  override async close(name: string = DEFAULT_CONNECTION_NAME): Promise<void> {
    await this.#hooks().rollBackEarly(name);
  }

  override async commitAll(): Promise<void> {
    await this.#hooks().commitEarly();
  }

  override async rollbackAll(): Promise<void> {
    await this.#hooks().rollBackEarly();
  }

  override async closeAll(): Promise<void> {
    await this.#hooks().rollBackEarly();
  }

  override rollbackOnly({ connection }: ConnectionChoice = {}): void {
    const name = connection ?? DEFAULT_CONNECTION_NAME;
    const callback = (): never => {
      throw new UnexpectedRollbackError(name, 'rollback-only');
    };
    this.#hooks().add({ kind: 'beforeCommit', callback, connection });
  }

  override beforeCommit(callback: HookCallback, { connection }: ConnectionChoice = {}): void {
    this.#hooks().add({ kind: 'beforeCommit', callback, connection });
  }

  override onCommit(callback: HookCallback, { connection }: ConnectionChoice = {}): void {
    this.#hooks().add({ kind: 'onCommit', callback, connection });
  }

  override onRollback(callback: HookCallback, { connection }: ConnectionChoice = {}): void {
    this.#hooks().add({ kind: 'onRollback', callback, connection });
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override getSession<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E | undefined {
    return this.#sessions.get(name) as E | undefined;
  }

  override putSession(session: EntityManager, name: string = DEFAULT_CONNECTION_NAME): void {
    this.#sessions.set(name, session);
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as of DbContext
  override popSession<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E | undefined {
    const session = this.getSession<E>(name);
    this.#sessions.delete(name);
    return session;
  }

  #newHooks(): HookList {
    return new HookList((callback) => this.runInNewContext(callback), this.#report);
  }

  #hooks(): HookList {
    return this.#current.getStore() ?? this.#own;
  }
}
