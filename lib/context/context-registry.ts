import { TransactionContext, type EntityManager } from '@mikro-orm/core';

import type { FaultReporter } from '../connection/db-connection.js';
import { WrittenLsns } from '../connection/written-lsns.js';
import type { DbContextOptions } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import {
  ContextTimeoutError,
  DbContextNotActiveError,
  ShuttingDownError,
  type EndCause,
} from '../errors.js';
import type { SessionFactory } from '../session/session-factory.js';
import { ambientManager } from '../session/ambient.js';
import { innermostManager } from '../session/session-marks.js';
import { ConnectionRegistry } from './connection-registry.js';
import type { ContextProbe, Reporters } from './context-probe.js';
import { currentContext, runWithContext } from './context-storage.js';
import type { ContextDependencies } from './context-sessions.js';
import { Context } from './context.js';
import type { Decision } from './end-by.js';
import type { HookCallback, HookKind } from './hooks.js';
import { runAndSettle } from './run-and-settle.js';
import { RunningContexts } from './running-contexts.js';
import { OUTSIDE, UnawaitedRefusals } from './unawaited-refusals.js';
import { ContextWatch, watchLimits } from './watch.js';

/** The part of the options that is not about requests. */
type RegistryOptions = Pick<
  DbContextOptions,
  'beforeCommit' | 'hookTimeoutMs' | 'contextTimeoutMs' | 'watch'
>;

/**
 * The running contexts of one application. Everything that opens or ends a context goes through here,
 * so that a shutdown finds what is still running (H3).
 */
export class ContextRegistry {
  readonly connections = new ConnectionRegistry((factory) => this.#managerOf(factory));
  /** Where a fault goes that has no caller to be thrown at. */
  readonly report: FaultReporter;
  readonly #running = new RunningContexts();
  readonly #dependencies: ContextDependencies;
  readonly #contextTimeoutMs: number | undefined;
  readonly #watch: ContextWatch | undefined;
  /**
   * Whether the application answers requests now. An error that nobody handles then concerns one of them,
   * and not the whole process, as it does in a script.
   */
  isServing = (): boolean => false;
  #probes: readonly ContextProbe[] = [];
  #common: Context | undefined;
  #isShuttingDown = false;

  constructor({ report, warn }: Reporters, options: RegistryOptions) {
    this.report = report;
    this.#contextTimeoutMs = options.contextTimeoutMs;
    const limits = watchLimits(options.watch);
    this.#watch = limits && new ContextWatch(limits, warn);
    const { beforeCommit, hookTimeoutMs = DEFAULTS.hookTimeoutMs } = options;
    this.#dependencies = {
      factory: (name) => this.connections.factory(name),
      watch: this.#watch,
      unawaited: new UnawaitedRefusals(report),
      environment: {
        report,
        timeoutMs: hookTimeoutMs,
        beforeCommit:
          beforeCommit && (({ manager, connectionName }) => beforeCommit(manager, connectionName)),
        run: (kind, callback, origin) => this.#runHook(kind, callback, origin),
      },
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

  #runHook(kind: HookKind, callback: HookCallback, origin: string): Promise<unknown> {
    const run = (): Promise<unknown> => this.runApart(callback, `an ${kind} hook of ${origin}`);
    const probe = this.#probes.findLast(({ runHook }) => runHook !== undefined);
    return probe?.runHook?.(kind, callback, run) ?? run();
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
    return this.#running.count;
  }

  /** The context that the current code runs in and that is still open. */
  active(): Context | undefined {
    const context = this.#current();
    return context?.isClosed === true ? undefined : context;
  }

  /**
   * The context that the current code runs in.
   *
   * @throws {@link DbContextNotActiveError} there is none
   */
  require(): Context {
    const context = this.#current();
    if (context === undefined) {
      const error = new DbContextNotActiveError();
      if (this.isServing()) {
        this.#dependencies.unawaited.refused(error, OUTSIDE);
      }
      throw error;
    }
    return context;
  }

  /**
   * As `require()`, for code that needs the session of a connection.
   *
   * @throws {@link DbContextNotActiveError}, {@link SessionClosedError}
   */
  requireOpen(name: string): Context {
    const context = this.require();
    context.assertOpen(name);
    return context;
  }

  #current(): Context | undefined {
    return currentContext(this, this.#common);
  }

  /**
   * What `@InjectSession()` stands for: the entity manager of MikroORM's own `TransactionContext`,
   * where the code has entered one of the same database inside of its context (C6), else the session.
   */
  #managerOf({ connection: { name, orm } }: SessionFactory): EntityManager {
    const context = this.require();
    const ambient = ambientManager(context.ambient);
    return ambient?.config === orm.config
      ? innermostManager(ambient)
      : context.session(name).manager;
  }

  /**
   * Opens a context. Its caller settles it.
   *
   * @param origin what opens it, for messages
   * @param writtenLsns what its reads must see; by default that of the context that it is opened in
   * @throws {@link ShuttingDownError} and it is not for a context that was let in before
   */
  open(origin: string, writtenLsns?: WrittenLsns): Context {
    this.#assertMayOpen();
    return this.#open(origin, false, writtenLsns);
  }

  /** Opens what a session in no context needs all the same; otherwise as {@link ContextRegistry.open}. */
  openDetached(origin: string): Context {
    this.#assertMayOpen();
    return this.#open(origin, true);
  }

  #assertMayOpen(): void {
    if (this.#isShuttingDown && this.active() === undefined) {
      throw new ShuttingDownError();
    }
  }

  #open(origin: string, isDetached = false, writtenLsns?: WrittenLsns): Context {
    const context = new Context({
      dependencies: this.#dependencies,
      origin,
      isDetached,
      outer: this.active(),
      ambient: TransactionContext.currentTransactionContext()?.em,
      writtenLsns:
        writtenLsns ??
        // Also of a context that has ended: its hooks write for the same client.
        this.#current()?.writtenLsns ??
        (this.connections.readYourWrites.length > 0 ? new WrittenLsns() : undefined),
    });
    this.#running.add(context);
    context.expiry = this.#expireLater(context);
    this.#watch?.opened(context);
    return context;
  }

  #expireLater(context: Context): NodeJS.Timeout | undefined {
    const timeoutMs = this.#contextTimeoutMs;
    if (timeoutMs === undefined) {
      return undefined;
    }
    const expire = (): void => {
      // One that is ending has other limits, and its outcome comes from the server.
      if (!context.isClosed) {
        const error = new ContextTimeoutError(context.origin, timeoutMs);
        const what = 'it was open for longer than contextTimeoutMs';
        void this.abandon(context, { what, error });
        context.onExpire?.(error);
      }
    };
    return setTimeout(expire, timeoutMs).unref();
  }

  /** Runs `callback` inside of a context. */
  runIn<T>(context: Context, callback: () => T): T {
    return runWithContext(this, context, callback);
  }

  /** Runs a hook in a context of its own; also during a shutdown, since it belongs to an older one. */
  runApart(callback: HookCallback, origin: string): Promise<unknown> {
    return runAndSettle(this, this.#open(origin), callback);
  }

  /** Runs `callback` outside of any context. */
  runOutside<T>(callback: () => T): T {
    return runWithContext(this, undefined, callback);
  }

  /** Ends a context, see {@link Context.settle}. */
  async settle(context: Context, decision: Decision, cause?: EndCause): Promise<void> {
    if (this.endUntouched(context, decision)) {
      return;
    }
    try {
      // Inside of it, for the sake of flush hooks and subscribers that use the session.
      await (currentContext(this) === context
        ? context.settle(decision, cause)
        : this.runIn(context, () => context.settle(decision, cause)));
    } finally {
      this.#hasEnded(context);
    }
  }

  /** Ends a context at once, see {@link Context.endUntouched}. */
  endUntouched(context: Context, decision: Decision): boolean {
    const isOver = context.endUntouched(decision);
    if (isOver) {
      this.#hasEnded(context);
    }
    return isOver;
  }

  #hasEnded(context: Context): void {
    if (this.#running.remove(context)) {
      this.#watch?.ended(context);
      if (!context.isDetached) {
        this.#probes.forEach((probe) => probe.onEnd?.(context));
      }
    }
  }

  /**
   * Rolls a context back. Never throws: its caller has an error of its own to report.
   *
   * @param cause why, where that is not decided by its own code; errors of what is under way name it
   */
  async abandon(context: Context, cause?: EndCause): Promise<void> {
    await this.settle(context, 'rollback', cause).catch((error: unknown) =>
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
    const late = await this.#running.untilIdle(timeoutMs);
    await Promise.all(late.map((each) => this.#cutOff(each)));
  }

  async #cutOff(context: Context): Promise<void> {
    // The outcome of a commit that is under way comes from the server, within a limit of its own.
    const isOpen = !context.isClosed;
    context.ends.hooks.giveUp();
    const error = new ShuttingDownError(context.origin);
    await this.abandon(context, { what: 'the application shuts down', error });
    if (isOpen) {
      // Its code may never return, and a request that nobody answers keeps the server open.
      context.onExpire?.(error);
    }
  }
}
