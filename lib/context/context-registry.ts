import { TransactionContext } from '@mikro-orm/core';

import type { FaultReporter } from '../connection/fault-reporter.js';
import { WrittenLsns } from '../connection/written-lsns.js';
import type { DbContextOptions } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DbContextNotActiveError, ShuttingDownError, type EndCause } from '../errors.js';
import { contextEnd } from '../telemetry/channels.js';
import type { ContextProbe, Reporters } from './context-probe.js';
import { currentContext, runWithContext } from './context-storage.js';
import type { ContextDependencies, OpeningOptions } from './context-sessions.js';
import { expireLater } from './context-expiry.js';
import { isContextObserved, publishEnded, publishOpened } from './context-telemetry.js';
import { Context } from './context.js';
import type { Decision } from './end-by.js';
import type { HookCallback, HookKind } from './hook-calls.js';
import { runAndSettle } from './run-and-settle.js';
import { RunningContexts } from './running-contexts.js';
import { SessionLookup } from './session-lookup.js';
import { Shutdown } from './shutdown.js';
import { OUTSIDE, UnawaitedRefusals } from './unawaited-refusals.js';
import { ContextWatch } from './watch.js';
import { watchLimits } from './watch-limits.js';

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
  readonly #lookup = new SessionLookup(this, {
    current: () => this.#current(),
    require: () => this.require(),
    runOutside: (work) => this.runOutside(work),
    watch: () => this.#watch,
  });
  readonly connections = this.#lookup.connections;
  /** Where a fault goes that has no caller to be thrown at. */
  readonly report: FaultReporter;
  readonly #running = new RunningContexts();
  /** What events call the application. */
  readonly application: object = {};
  /** The end of the application. */
  readonly shutdown: Shutdown;
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

  constructor({ report, warn }: Reporters, options: RegistryOptions) {
    this.report = report;
    this.shutdown = new Shutdown(
      this.#running,
      (context, cause) => this.abandon(context, cause),
      warn,
    );
    this.#contextTimeoutMs = options.contextTimeoutMs;
    const limits = watchLimits(options.watch);
    this.#watch = limits && new ContextWatch(limits, warn, this.application);
    const { beforeCommit, hookTimeoutMs = DEFAULTS.hookTimeoutMs } = options;
    this.#dependencies = {
      factory: (name) => this.connections.factory(name),
      connectionNames: () => this.connections.all.map(({ name }) => name),
      watch: this.#watch,
      application: this.application,
      connections: () => this.connections.all.map(({ telemetry }) => telemetry),
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
    // The last one that was attached decides first, and hands on what it does not keep.
    return this.#probes.reduce<() => Promise<unknown>>(
      (next, { runHook }) => (runHook === undefined ? next : () => runHook(kind, callback, next)),
      run,
    )();
  }

  /** See the option `hookTimeoutMs`, in milliseconds. */
  get hookTimeoutMs(): number {
    return this.#dependencies.environment.timeoutMs;
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
   * Opens a context. Its caller settles it.
   *
   * @param origin what opens it, for messages
   * @param writtenLsns what its reads must see; by default that of the context that it is opened in
   * @throws {@link ShuttingDownError} all consumers of the application are closed, and it is not for a
   *   context that was let in before
   */
  open(origin: string, writtenLsns?: WrittenLsns): Context {
    this.#assertMayOpen(origin);
    return this.#open(origin, { writtenLsns });
  }

  /** As {@link ContextRegistry.open}, where a server of the application is to send an answer. */
  openToAnswer(origin: string, writtenLsns?: WrittenLsns): Context {
    const context = this.open(origin, writtenLsns);
    this.#running.await(context);
    return context;
  }

  /** Opens what a session in no context needs all the same; otherwise as {@link ContextRegistry.open}. */
  openDetached(origin: string): Context {
    this.#assertMayOpen(origin);
    return this.#open(origin, { isDetached: true });
  }

  /**
   * Opens a context with a limit of its own, which its caller keeps. It is for work that was let in
   * before, so that a shutdown does not refuse it, and waits for it.
   *
   * @param timeoutMs that limit, in milliseconds
   */
  openLimited(origin: string, timeoutMs: number): Context {
    const context = this.#open(origin, { timeoutMs });
    this.#running.await(context);
    return context;
  }

  #assertMayOpen(origin: string): void {
    if (this.shutdown.isClosed && this.active() === undefined) {
      throw new ShuttingDownError(undefined, origin);
    }
  }

  #open(
    origin: string,
    { isDetached = false, writtenLsns, timeoutMs }: Partial<OpeningOptions> = {},
  ): Context {
    const context = new Context({
      dependencies: this.#dependencies,
      origin,
      isDetached,
      timeoutMs,
      outer: this.active(),
      ambient: TransactionContext.currentTransactionContext()?.em,
      writtenLsns:
        writtenLsns ??
        // Also of a context that has ended: its hooks write for the same client.
        this.#current()?.writtenLsns ??
        (this.connections.readYourWrites.length > 0 ? new WrittenLsns() : undefined),
    });
    this.#running.add(context);
    if (this.#probes.length > 0) {
      const within = this.#current();
      this.#probes.forEach((probe) => probe.opened?.(context, within));
    }
    if (timeoutMs === undefined) {
      context.expiry = this.#expireLater(context);
    }
    if (isContextObserved()) {
      publishOpened(context);
    }
    return context;
  }

  #expireLater(context: Context): NodeJS.Timeout | undefined {
    const timeoutMs = this.#contextTimeoutMs;
    const { graceMs } = this.shutdown;
    if (graceMs !== undefined && (timeoutMs === undefined || graceMs < timeoutMs)) {
      return setTimeout(() => void this.shutdown.cutOff(context), graceMs).unref();
    }
    return timeoutMs === undefined
      ? undefined
      : expireLater(context, timeoutMs, (cause) => this.abandon(context, cause));
  }

  /** Runs `callback` inside of a context. */
  runIn<T>(context: Context, callback: () => T): T {
    return this.#lookup.runIn(context, callback);
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
    if (this.endUntouched(context, decision, cause)) {
      return;
    }
    let failure: { readonly error: unknown } | undefined;
    try {
      // Inside of it, for the sake of flush hooks and subscribers that use the session.
      await (currentContext(this) === context
        ? context.settle(decision, cause)
        : this.runIn(context, () => context.settle(decision, cause)));
    } catch (error) {
      failure = { error };
      throw error;
    } finally {
      this.#hasEnded(context, failure);
    }
  }

  /** Ends a context at once, see {@link Context.endUntouched}. */
  endUntouched(context: Context, decision: Decision, cause?: EndCause): boolean {
    const isOver = context.endUntouched(decision, cause);
    if (isOver) {
      this.#hasEnded(context);
    }
    return isOver;
  }

  #hasEnded(context: Context, failure?: { readonly error: unknown }): void {
    if (this.#running.remove(context)) {
      // What it would call holds the code that waits for it, and the context that this runs in.
      context.onExpire = undefined;
      if (this.#probes.length > 0) {
        this.#probes.forEach((probe) => probe.ended?.(context));
      }
      if (contextEnd.hasSubscribers) {
        publishEnded(context, failure);
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
      this.report(`the context of ${context.origin} could not be rolled back`, error),
    );
  }
}
