import type { EntityManager } from '@mikro-orm/core';

import type { DbConnection, FaultReporter } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { WrittenLsns } from '../connection/written-lsns.js';
import { DEFAULTS, type DbContextOptions } from '../db-context.options.js';
import {
  ContextTimeoutError,
  DbContextNotActiveError,
  DuplicateConnectionError,
  InvalidOptionsError,
  ShuttingDownError,
  UnknownConnectionError,
} from '../errors.js';
import { SessionFactory } from '../session/session-factory.js';
import { DbContainer, type ContextDependencies, type Decision } from './container.js';
import { currentContainer, runWithContainer } from './context-storage.js';
import type { HookCallback, HookEnvironment, HookKind } from './hooks.js';
import { runAndSettle } from './unit-of-work.js';
import { ContextWatch, watchLimits } from './watch.js';

/** What tools for tests may attach to a host. */
export interface ContextProbe {
  /** The context of code that runs in none. */
  readonly common?: DbContainer | undefined;
  /** Told of each context that has ended. */
  readonly onEnd?: (container: DbContainer) => void;
  /** Runs a hook that is due, or does not. */
  readonly runHook?: (
    kind: HookKind,
    callback: HookCallback,
    run: () => Promise<unknown>,
  ) => Promise<unknown>;
}

/** The part of the options that is not about requests. */
type HostOptions = Pick<
  DbContextOptions,
  'beforeCommit' | 'hookTimeoutMs' | 'contextTimeoutMs' | 'watch'
>;

/** Where the host tells of what nobody asked about. */
export interface HostReporters {
  readonly report: FaultReporter;
  readonly warn: (message: string) => void;
}

/**
 * The connections and the running contexts of one application. Everything that opens or ends a
 * context goes through here, so that a shutdown finds what is still running.
 */
export class ContextHost {
  readonly #factories = new Map<string, SessionFactory>();
  readonly #handles = new Map<string, EntityManager>();
  /** With what ends them when they have been open for too long. */
  readonly #running = new Map<DbContainer, NodeJS.Timeout | undefined>();
  #probes: readonly ContextProbe[] = [];
  #common: DbContainer | undefined;
  /** Those whose clients read what they wrote. */
  #readYourWritesConnections: readonly DbConnection[] = [];
  #isShuttingDown = false;
  #onIdle: (() => void) | undefined;
  /** Where a fault goes that has no caller to be thrown at. */
  readonly report: FaultReporter;
  readonly #dependencies: ContextDependencies;

  readonly #contextTimeoutMs: number | undefined;
  readonly #watch: ContextWatch | undefined;

  constructor({ report, warn }: HostReporters, options: HostOptions) {
    this.report = report;
    this.#contextTimeoutMs = options.contextTimeoutMs;
    const limits = watchLimits(options.watch);
    this.#watch = limits && new ContextWatch(limits, warn);
    const { beforeCommit } = options;
    const environment: HookEnvironment = {
      report,
      timeoutMs: options.hookTimeoutMs ?? DEFAULTS.hookTimeoutMs,
      beforeCommit:
        beforeCommit && (({ manager, connectionName }) => beforeCommit(manager, connectionName)),
      run: (kind, callback) => {
        const run = (): Promise<unknown> => this.runApart(callback, `an ${kind} hook`);
        const probe = this.#probes.findLast((each) => each.runHook !== undefined);
        return probe?.runHook?.(kind, callback, run) ?? run();
      },
    };
    this.#dependencies = {
      factory: (name) => this.factory(name),
      environment,
      watch: this.#watch,
    };
  }

  /**
   * Lets tools for tests look at contexts, and take part in them; where only one can, the last does.
   *
   * @returns takes the probe away again
   */
  attach(probe: ContextProbe): () => void {
    this.#attachAll([...this.#probes, probe]);
    return () => this.#attachAll(this.#probes.filter((each) => each !== probe));
  }

  #attachAll(probes: readonly ContextProbe[]): void {
    this.#probes = probes;
    this.#common = probes.findLast(({ common }) => common !== undefined)?.common;
  }

  /** @throws {@link DuplicateConnectionError}, {@link InvalidOptionsError} */
  register(connection: DbConnection): void {
    const { name } = connection;
    if (this.#factories.has(name)) {
      throw new DuplicateConnectionError(name);
    }
    this.#assertDistinctReadYourWrites(connection);
    const factory = new SessionFactory(connection);
    this.#factories.set(name, factory);
    if (connection.readYourWrites !== undefined) {
      this.#readYourWritesConnections = [...this.#readYourWritesConnections, connection];
    }
    this.#handles.set(
      name,
      factory.createHandle(() => this.require().session(name).manager),
    );
  }

  /** @throws {@link InvalidOptionsError} two would overwrite what the other tells the client */
  #assertDistinctReadYourWrites({ name, readYourWrites: own }: DbConnection): void {
    const other = this.#readYourWritesConnections.find(
      ({ readYourWrites }) =>
        own !== undefined &&
        readYourWrites?.via === own.via &&
        readYourWrites.name.toLowerCase() === own.name.toLowerCase(),
    );
    if (other !== undefined) {
      throw new InvalidOptionsError(
        `The connections "${other.name}" and "${name}" both have readYourWrites with the ${own?.via} ` +
          `"${own?.name}". Give each a name of its own, or leave the name out.`,
      );
    }
  }

  /**
   * What stands for the session of a connection, in whatever context it is used.
   *
   * @throws {@link UnknownConnectionError}
   */
  handle(name: string): EntityManager {
    const handle = this.#handles.get(name);
    if (handle === undefined) {
      throw new UnknownConnectionError(name, [...this.#handles.keys()]);
    }
    return handle;
  }

  get connections(): readonly DbConnection[] {
    return [...this.#factories.values()].map((factory) => factory.connection);
  }

  /** The connections whose clients read what they wrote (`readYourWrites`). */
  get readYourWritesConnections(): readonly DbConnection[] {
    return this.#readYourWritesConnections;
  }

  /** @throws {@link UnknownConnectionError} */
  factory(name: string): SessionFactory {
    const factory = this.#factories.get(name);
    if (factory === undefined) {
      throw new UnknownConnectionError(name, [...this.#factories.keys()]);
    }
    return factory;
  }

  /** Half of the smallest pool: how much of it one request may take without asking. */
  async fairShare(): Promise<number> {
    const sizes = await Promise.all(this.connections.map((connection) => connection.poolSize()));
    return Math.max(1, Math.floor(Math.min(...sizes) / 2));
  }

  /** Whether contexts that still run are about to be rolled back. */
  get isShuttingDown(): boolean {
    return this.#isShuttingDown;
  }

  /** Whether a context ends by itself when it has been open for too long. */
  get limitsContexts(): boolean {
    return this.#contextTimeoutMs !== undefined;
  }

  /** Number of contexts that have not been settled. */
  get runningCount(): number {
    return this.#running.size;
  }

  /** The context that the current code runs in and that is still open. */
  active(): DbContainer | undefined {
    const container = currentContainer(this, this.#common);
    return container?.isClosed === true ? undefined : container;
  }

  /**
   * The context that the current code runs in.
   *
   * @throws {@link DbContextNotActiveError} there is none
   */
  require(): DbContainer {
    const container = currentContainer(this, this.#common);
    if (container === undefined) {
      throw new DbContextNotActiveError();
    }
    return container;
  }

  /**
   * The session that code outside of it, which nobody awaited, may no longer use.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  requireOpen(name: string): DbContainer {
    const container = this.require();
    container.assertOpen(name);
    return container;
  }

  /**
   * Opens a context. Whoever opens one settles it.
   *
   * @param origin what opens it, for messages
   * @param writtenLsns what its reads must see; by default that of the context that it is opened in
   * @throws {@link ShuttingDownError} and it is not for a context that was let in before
   */
  open(origin: string, writtenLsns?: WrittenLsns): DbContainer {
    this.#assertMayOpen();
    return this.#open(origin, false, writtenLsns);
  }

  /** Opens what a session in no context needs all the same; otherwise as {@link ContextHost.open}. */
  openDetached(origin: string): DbContainer {
    this.#assertMayOpen();
    return this.#open(origin, true);
  }

  #assertMayOpen(): void {
    if (this.#isShuttingDown && this.active() === undefined) {
      throw new ShuttingDownError();
    }
  }

  #open(origin: string, isDetached = false, writtenLsns?: WrittenLsns): DbContainer {
    const outer = this.active();
    const container = new DbContainer({
      dependencies: this.#dependencies,
      origin,
      isDetached,
      outer,
      writtenLsns:
        writtenLsns ??
        // Also of one that has ended: its hooks write for the same client.
        currentContainer(this, this.#common)?.writtenLsns ??
        (this.#readYourWritesConnections.length > 0 ? new WrittenLsns() : undefined),
    });
    this.#running.set(container, this.#expireLater(container));
    this.#watch?.opened(container);
    return container;
  }

  #expireLater(container: DbContainer): NodeJS.Timeout | undefined {
    const timeoutMs = this.#contextTimeoutMs;
    if (timeoutMs === undefined) {
      return undefined;
    }
    return setTimeout(() => {
      if (container.isClosed) {
        // It is ending, for which there are other limits; the outcome is the server's to tell.
        return;
      }
      const error = new ContextTimeoutError(container.origin, timeoutMs);
      void this.abandon(container);
      container.onExpire?.(error);
    }, timeoutMs).unref();
  }

  /** Runs `callback` inside of a context. */
  runIn<T>(container: DbContainer, callback: () => T): T {
    return runWithContainer(this, container, callback);
  }

  /** Runs a hook in a context of its own; also during a shutdown, since it belongs to an older one. */
  runApart(callback: HookCallback, origin: string): Promise<unknown> {
    return runAndSettle(this, this.#open(origin), callback);
  }

  /** Runs `callback` outside of any context. */
  runOutside<T>(callback: () => T): T {
    return runWithContainer(this, undefined, callback);
  }

  /** Ends a context, see {@link DbContainer.settle}. */
  async settle(container: DbContainer, decision: Decision): Promise<void> {
    if (this.endUntouched(container, decision)) {
      return;
    }
    try {
      // Inside of it, for the sake of flush hooks and subscribers that use the session.
      await (currentContainer(this) === container
        ? container.settle(decision)
        : this.runIn(container, () => container.settle(decision)));
    } finally {
      this.#hasEnded(container);
    }
  }

  /** Ends a context at once, see {@link DbContainer.endUntouched}. */
  endUntouched(container: DbContainer, decision: Decision): boolean {
    const isOver = container.endUntouched(decision);
    if (isOver) {
      this.#hasEnded(container);
    }
    return isOver;
  }

  #hasEnded(container: DbContainer): void {
    clearTimeout(this.#running.get(container));
    if (this.#running.delete(container)) {
      this.#watch?.ended(container);
      if (!container.isDetached) {
        this.#probes.forEach((probe) => probe.onEnd?.(container));
      }
    }
    if (this.#running.size === 0) {
      this.#onIdle?.();
    }
  }

  /** Rolls a context back. Never throws: whoever does this has an error of its own to report. */
  async abandon(container: DbContainer): Promise<void> {
    await this.settle(container, 'rollback').catch((error: unknown) =>
      this.report('a context could not be rolled back', error),
    );
  }

  /**
   * Opens no more contexts, waits for those that run, and rolls back what is left after the limit.
   *
   * @param timeoutMs how long running contexts may go on, in milliseconds
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#isShuttingDown = true;
    if (this.#running.size > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      if ((await withinLimit(idle, timeoutMs)) === TIMED_OUT) {
        await Promise.all([...this.#running.keys()].map((each) => this.#cutOff(each)));
      }
    }
  }

  async #cutOff(container: DbContainer): Promise<void> {
    // Of a commit that is under way the server tells the outcome, within a limit of its own.
    const isOpen = !container.isClosed;
    await this.abandon(container);
    if (isOpen) {
      // Its code may never return, and a request that nobody answers keeps the server open.
      container.onExpire?.(new ShuttingDownError(container.origin));
    }
  }

  /**
   * Closes all connections, each whatever becomes of the others.
   *
   * @throws the first error, after all have been attempted
   */
  async closeConnections(): Promise<void> {
    const results = await Promise.allSettled(
      this.connections.map((connection) => connection.close()),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      throw failed.reason;
    }
  }
}
