import type { Readable } from 'node:stream';

import type { EntityManager } from '@mikro-orm/core';
import { isObservable, type Observable } from 'rxjs';

import { InvalidOptionsError, within } from '../errors.js';
import { checkRetryOptions } from '../options/check-retry-options.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { checkKeys } from '../options/option-keys.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import { runAtomic } from './atomic.js';
import { bindObservable, type Projection } from './bound-observable.js';
import { checkConcurrency, runBounded, type RunAllResults } from './bounded.js';
import type { ContextRegistry } from './context-registry.js';
import { ContextStream } from './context-stream.js';
import { JoinedWork } from './joined-work.js';
import { runDetached, runInOwnContext } from './run-and-settle.js';
import {
  assertFunction,
  chosenConnection,
  type AtomicOptions,
  type ConnectionChoice,
  type RunAllOptions,
  type RunOptions,
} from './run-options.js';
import { planStream, type StreamOptions, type StreamSource } from './stream-options.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/** Settings of the transactions of a connection. */
export interface DemandedSettings {
  readonly connection: string;
  readonly settings: TransactionSettings;
}

/**
 * The ways to run code as a unit of work of its own; see {@link DbContext}.
 *
 * @publicApi
 */
export abstract class UnitsOfWork {
  /** @internal */
  protected readonly registry: ContextRegistry;

  /** @internal */
  constructor(registry: ContextRegistry) {
    this.registry = registry;
  }

  /**
   * Runs `callback` in a context: in the active one, which it never settles, else in one of
   * its own, committed when `callback` succeeds and rolled back when it throws.
   *
   * @returns what `callback` returns
   * @throws what `callback` throws, or why the commit failed
   * @throws {@link InvalidOptionsError} `commitOn` or `commitOnError` inside of a context
   * @throws {@link ShuttingDownError} the application is closing
   */
  async run<T>(callback: () => T | Promise<T>, options: RunOptions<T> = {}): Promise<T> {
    checkKeys(options, 'run', 'dbContext.run()');
    assertFunction(callback, 'dbContext.run()');
    if (options.retry !== undefined) {
      checkRetryOptions(options.retry, 'retry');
    }
    const joined = this.registry.active();
    if (joined !== undefined && (options.commitOn ?? options.commitOnError) !== undefined) {
      throw new InvalidOptionsError(
        'dbContext.run() has commitOn or commitOnError inside of a context, which it joins and does not end. ' +
          'Give them to what opens that context, or use dbContext.runInNewContext().',
      );
    }
    return joined === undefined
      ? runInOwnContext(this.registry, options.name ?? 'dbContext.run()', callback, options)
      : new JoinedWork(joined, options.name ?? joined.origin).run(() =>
          this.registry.runIn(joined, callback),
        );
  }

  /**
   * Runs `callback` in a context of its own also where one is active: its sessions, connections and
   * outcome are its own, and the outer context does not notice. For work that must persist also when
   * the request fails, and for queries that shall run at the same time.
   *
   * It takes further connections while the outer context holds its own; leave room in `pool.max`.
   *
   * @returns what `callback` returns
   * @throws what `callback` throws, or why the commit failed
   * @throws {@link ShuttingDownError} the application is closing
   */
  async runInNewContext<T>(
    callback: () => T | Promise<T>,
    { name = 'runInNewContext()', ...options }: RunOptions<T> = {},
  ): Promise<T> {
    checkKeys(options, 'run', 'runInNewContext()');
    assertFunction(callback, 'runInNewContext()');
    return runInOwnContext(this.registry, name, callback, options);
  }

  /**
   * Runs each function in a new context, some at a time: concurrent work that cannot take the whole
   * pool. Each is committed or rolled back by itself.
   *
   * After a failure no further function is started; those that run are waited for, and what they
   * commit stays. A failure after the first one is logged.
   *
   * @returns what the functions return, in their order
   * @throws what the first function to fail throws, or why its commit failed
   * @throws {@link InvalidOptionsError} `concurrency` is no number of functions
   * @throws {@link ShuttingDownError} the application is closing
   * @example
   * ```ts
   * const prices = await this.dbContext.runAllInNewContexts(
   *   orders.map((order) => () => this.prices.of(order)),
   *   { concurrency: 3 },
   * );
   * ```
   */
  async runAllInNewContexts<const T extends readonly (() => unknown)[]>(
    callbacks: T,
    options: RunAllOptions = {},
  ): Promise<RunAllResults<T>> {
    checkKeys(options, 'runAll', 'runAllInNewContexts()');
    const caller = { origin: this.registry.active()?.origin };
    const { concurrency = await this.registry.connections.fairShare(), retry } = options;
    checkConcurrency(concurrency);
    const runs = callbacks.map(
      (callback) => () =>
        runInOwnContext(this.registry, 'runAllInNewContexts()', callback, { retry }),
    );
    return runBounded(runs, concurrency, (error) =>
      this.registry.report(
        `a further function of runAllInNewContexts()${within(caller)} failed`,
        error,
      ),
    ) as Promise<RunAllResults<T>>;
  }

  /**
   * Makes a stream with a context of its own, which lives for as long as the stream is read: for a body that is
   * made of a query and produced after the request has been settled. Nothing is taken before the
   * first read; from then on the stream holds a connection, to its end.
   *
   * The context is committed when `source` ends, before the stream does. It is rolled back when `source`
   * throws, when the stream is destroyed (its client has left), at `timeoutMs`, and when a shutdown does
   * not wait any longer. It is read-only, unless `readOnly: false`; the last chunk of one that writes is
   * passed on after its commit. `source` is asked for no more than the reader takes.
   *
   * `source` runs where `stream()` was called, so that it finds the same stores of `nestjs-cls`. A stream
   * that fails is destroyed with {@link StreamFailedError}, {@link StreamTimeoutError} or
   * {@link ShuttingDownError}, which are in the log as well.
   *
   * @param source an async generator, or another function that gives what can be read
   * @throws {@link InvalidOptionsError} an option cannot be
   * @throws {@link UnknownConnectionError}
   * @example
   * ```ts
   * return new StreamableFile(
   *   this.dbContext.stream(async function* (session) {
   *     for await (const note of session.stream(Note)) {
   *       yield `${note.id};${note.text}\n`;
   *     }
   *   }),
   * );
   * ```
   */
  stream<E extends EntityManager = DriverEntityManager>(
    source: StreamSource<string | Uint8Array, E>,
    options?: StreamOptions & { readonly objectMode?: false },
  ): Readable;
  stream<T, E extends EntityManager = DriverEntityManager>(
    source: StreamSource<T, E>,
    options: StreamOptions & { readonly objectMode: true },
  ): Readable;
  stream(source: StreamSource<unknown, never>, options: StreamOptions = {}): Readable {
    return this.makeStream(source, options);
  }

  /** @internal */
  protected makeStream(source: StreamSource<unknown, never>, options: StreamOptions): Readable {
    return new ContextStream(this.registry, planStream(this.registry, source, options));
  }

  /**
   * Delivers the values of an Observable in a context, although they come from an event of a socket that
   * knows of none: the messages of a client stream of gRPC, a `fromEvent()`.
   *
   * The context is the one that is active where the result is subscribed to, and is settled by what has
   * opened it; so in a handler all messages are one unit of work, which ends before the answer. Where
   * none is active each subscription has one of its own: committed when the result completes, before
   * that is passed on, rolled back when it fails or is unsubscribed from. Its last value is passed on after
   * the commit.
   */
  bind<T>(source: Observable<T>): Observable<T>;
  /**
   * Delivers the values of an Observable in a context, and what is made of them: asynchronous work on them
   * belongs to that context, which waits for it.
   *
   * @param project what becomes of the values; what is asynchronous has to be in here to be waited for
   *   by a context of its own
   * @example
   * ```ts
   * import(messages: Observable<NoteMessage>) {
   *   return this.dbContext.bind(messages, (notes) =>
   *     notes.pipe(concatMap((note) => this.notes.save(note)), count()),
   *   );
   * }
   * ```
   */
  bind<T, R>(
    source: Observable<T>,
    project: (source: Observable<T>) => Observable<R>,
  ): Observable<R>;
  /**
   * Makes a function each call of which runs in a context of its own, as by
   * {@link UnitsOfWork.runInNewContext}: for listeners of sockets and emitters.
   *
   * @returns gives a promise, which is rejected with what `callback` throws, or with why the commit failed;
   *   an emitter does not handle it
   */
  bind<Args extends unknown[], T>(
    callback: (...args: Args) => T | Promise<T>,
    options?: RunOptions<T>,
  ): (...args: Args) => Promise<T>;
  bind(
    source: Observable<unknown> | ((...args: unknown[]) => unknown),
    how: Projection<unknown, unknown> | RunOptions<unknown> = {},
  ): unknown {
    if (isObservable(source)) {
      const project = typeof how === 'function' ? how : (values: Observable<unknown>) => values;
      return this.bindValues(source, project);
    }
    const options = how as RunOptions<unknown>;
    return (...args: unknown[]) => this.runInNewContext(() => source(...args), options);
  }

  /** @internal */
  protected bindValues<T, R>(source: Observable<T>, project: Projection<T, R>): Observable<R> {
    return bindObservable(this.registry, source, project);
  }

  /**
   * Runs `callback` as a transaction of its own on the session of the current context: committed
   * when it succeeds, rolled back when it throws.
   *
   * @param callback is given the session
   * @returns what `callback` returns
   * @throws what `callback` throws, or why the commit failed
   * @throws {@link InvalidTransactionStateError} with `current: 'raise'`, a transaction is open; or
   *   the call is inside em.transactional(), where only `savepoint` fits; or the block goes on in a
   *   transaction that has begun without the settings
   * @throws {@link InvalidOptionsError} a setting cannot be
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  async atomic<T, E extends EntityManager = DriverEntityManager>(
    callback: (session: E) => T | Promise<T>,
    options: AtomicOptions = {},
  ): Promise<T> {
    checkKeys(options, 'atomic', 'atomic()');
    assertFunction(callback, 'atomic()');
    const { connection = DEFAULT_CONNECTION_NAME, ...settings } = options;
    const context = this.registry.requireOpen(connection);
    const target = { context, connectionName: connection };
    return runAtomic(target, settings, (manager) => callback(manager as E));
  }

  /**
   * @internal Asks for settings of the active context, or of the transaction that it is in: those of a
   * context that was opened for them hold for all of its transactions.
   */
  demand(scope: 'context' | 'transaction', { connection, settings }: DemandedSettings): void {
    const context = this.registry.requireOpen(connection);
    if (scope === 'context') {
      context.configure(connection, settings);
    } else {
      context.session(connection).demand(settings);
    }
  }

  /**
   * Runs `callback` with a session that belongs to no context, and closes it: what `callback` does
   * not commit by itself is rolled back.
   *
   * @throws what `callback` throws
   * @throws {@link UnknownConnectionError}, {@link ShuttingDownError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  async newSession<T, E extends EntityManager = DriverEntityManager>(
    callback: (session: E) => T | Promise<T>,
    options: ConnectionChoice = {},
  ): Promise<T> {
    const connection = chosenConnection(options, 'newSession()');
    return runDetached(this.registry, connection, 'rollback', (manager) => callback(manager as E));
  }

  /**
   * As `newSession()`, and commits when `callback` succeeds.
   *
   * @throws what `callback` throws, or why the commit failed
   * @throws {@link UnknownConnectionError}, {@link ShuttingDownError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  async newAtomicSession<T, E extends EntityManager = DriverEntityManager>(
    callback: (session: E) => T | Promise<T>,
    options: ConnectionChoice = {},
  ): Promise<T> {
    const connection = chosenConnection(options, 'newAtomicSession()');
    return runDetached(this.registry, connection, 'commit', (manager) => callback(manager as E));
  }
}
