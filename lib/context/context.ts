import type { EntityManager } from '@mikro-orm/core';

import type { Holder } from '../connection/claim.js';
import type { WrittenLsns } from '../connection/written-lsns.js';
import {
  SessionClosedError,
  UnexpectedRollbackError,
  type ContextTimeoutError,
  type DbContextError,
  type ShuttingDownError,
} from '../errors.js';
import type { SessionObserver } from '../session/session-observer.js';
import type { Session } from '../session/session.js';
import { SerialQueue } from '../transaction/serial-queue.js';
import { CommitRefusals } from './commit-refusals.js';
import { ContextSessions, type ContextDependencies } from './context-sessions.js';
import type { Decision } from './end-by.js';
import { ContextHooks, type HookCallback, type HookKind } from './hooks.js';
import {
  closeSessions,
  CommitPlan,
  commitSessions,
  rollbackSessions,
  type Settlement,
} from './settlement.js';

/** How a context is opened. */
export interface ContextOptions {
  readonly dependencies: ContextDependencies;
  readonly origin: string;
  readonly isDetached: boolean;
  /** The context that it was opened in. */
  readonly outer: Context | undefined;
  /** The manager of MikroORM's `TransactionContext` that it was opened in; it is none of its own. */
  readonly ambient: EntityManager | undefined;
  /** What its reads must see, where that is kept; shared with the context that it was opened in. */
  readonly writtenLsns: WrittenLsns | undefined;
}

/**
 * Where a context stands: `flushing` from the beginning of its commit, when flush hooks may still use
 * its sessions; `closed` when its gates are shut, and it gives out no sessions any more.
 */
type Phase = 'open' | 'flushing' | 'closed' | 'committed';

/**
 * One unit of work: at most one session for each connection, made on first use (M1), and settled
 * exactly once (S4).
 */
export class Context extends ContextSessions implements Holder, SessionObserver {
  #phase: Phase = 'open';
  /** The end that is under way or over; a second one waits for it. */
  #settlement: Promise<void> | undefined;
  /** The first connection whose work a rollback undid; a later wish to commit must learn of it. */
  #undone: string | undefined;
  readonly #hooks: ContextHooks;
  readonly #refusals = new CommitRefusals();
  #blocks: SerialQueue | undefined;
  /** Whether it only stands for a session in no context: no code ever runs in it. */
  readonly isDetached: boolean;
  /** What opened it, for messages: `OrdersController.create`, `dbContext.run()`. */
  origin: string;
  /** Called when it has been open for too long, and is rolled back while its code still runs. */
  onExpire: ((error: ContextTimeoutError | ShuttingDownError) => void) | undefined;
  /** The manager of MikroORM's `TransactionContext` that it was opened in; it is none of its own. */
  readonly ambient: EntityManager | undefined;
  readonly writtenLsns: WrittenLsns | undefined;
  /** Where the registry keeps it while it runs, and what ends it when that takes too long. */
  slot: number | undefined;
  expiry: NodeJS.Timeout | undefined;
  #outer: Context | undefined;

  constructor(options: ContextOptions) {
    const { dependencies, origin, isDetached, outer, ambient, writtenLsns } = options;
    super(dependencies);
    this.isDetached = isDetached;
    this.origin = origin;
    this.#hooks = new ContextHooks(dependencies.environment);
    this.#outer = outer;
    this.ambient = ambient;
    this.writtenLsns = writtenLsns;
  }

  protected get observer(): this {
    return this;
  }

  /** The context that it was opened in, and that is still open: it goes on when this one ends. */
  get outer(): Context | undefined {
    // A job that starts itself again would otherwise keep the contexts of all its runs.
    while (this.#outer?.isClosed === true) {
      this.#outer = this.#outer.#outer;
    }
    return this.#outer;
  }

  /** Whether it gives out no sessions any more. */
  get isClosed(): boolean {
    return this.#phase === 'closed' || this.#phase === 'committed';
  }

  get isCommitted(): boolean {
    return this.#phase === 'committed';
  }

  /** Whether a transaction is open, or a commit will open one to write what was only persisted. */
  get hasWork(): boolean {
    return this.sessions.some((session) => session.hasWork);
  }

  /** The turns of the atomic blocks that lie in no other. */
  get blocks(): SerialQueue {
    this.#blocks ??= new SerialQueue();
    return this.#blocks;
  }

  /** Whether nobody has used it yet, or nothing of the use is left. */
  get isUntouched(): boolean {
    return (
      this.sessions.length === 0 &&
      this.#hooks.isEmpty &&
      this.#refusals.isEmpty &&
      this.unfinished.length === 0
    );
  }

  /** How many parts of its work have been committed before its end, so that no rollback undoes them. */
  get earlyCommits(): number {
    return this.#hooks.earlyCommits;
  }

  /**
   * The session that an end is asked for; also a new one, where a failed commit has closed the last.
   *
   * @throws {@link SessionClosedError}, {@link UnknownConnectionError}
   */
  toEnd(name: string): Session | undefined {
    this.assertOpen(name);
    this.factory(name);
    return this.#refusals.errorOf(name) === undefined ? this.existing(name) : this.session(name);
  }

  /** @throws {@link SessionClosedError} the context has been settled (S5) */
  assertOpen(name: string): void {
    if (this.isClosed) {
      this.dependencies.watch?.usedLate(this, name);
      const error = new SessionClosedError(name);
      this.refused(error);
      throw error;
    }
  }

  /** See {@link Holder.refused}. */
  refused(error: Error): void {
    this.dependencies.unawaited.refused(error, this);
  }

  /**
   * Makes the end of the context a rollback, or that of one connection.
   *
   * @param name all of the context if omitted
   */
  rollbackOnly(name?: string): void {
    if (name !== undefined) {
      this.factory(name);
    }
    this.#refusals.rollbackOnly(name);
  }

  /**
   * Ends the context. The first call decides; a later one waits for it (S4).
   *
   * @throws why not all of it is committed
   * @throws {@link UnexpectedRollbackError} a commit was asked for after somebody else (a client that
   *   left, a shutdown) had rolled back
   */
  async settle(decision: Decision): Promise<void> {
    // A commit may hang in a hook or in its flush: a rollback gives it up, and does not wait for it.
    const isOvertaken = decision === 'rollback' && this.#phase === 'flushing';
    if (this.#phase === 'open' || isOvertaken) {
      this.#settlement = decision === 'commit' ? this.#commit() : this.#rollback();
      await this.#settlement;
      return;
    }
    await this.#settlement;
    if (decision === 'commit' && this.#undone !== undefined) {
      throw new UnexpectedRollbackError(this.#undone, 'context-ended');
    }
  }

  /**
   * Ends the context at once, if there is nothing to be settled (L2).
   *
   * @returns whether it did
   */
  endUntouched(decision: Decision): boolean {
    if (this.#phase !== 'open' || !this.isUntouched) {
      return false;
    }
    this.#phase = decision === 'commit' ? 'committed' : 'closed';
    return true;
  }

  /**
   * Adds a hook.
   *
   * @param name the connection whose transaction it is bound to; all of the context if omitted
   * @throws {@link SessionClosedError}, {@link UnknownConnectionError}
   */
  addHook(kind: HookKind, callback: HookCallback, name?: string): void {
    const sessions = name === undefined ? this.sessions : [this.session(name)];
    this.#hooks.add(kind, callback, sessions, name);
  }

  /**
   * Remembers whether a connection may be committed.
   *
   * @returns makes it so again: what a block has done there is undone, and its caller gets the error
   */
  rememberRefusal(name: string): () => void {
    return this.#refusals.remember(name);
  }

  /** Takes out hooks, see {@link ContextHooks.take}. */
  takeHooks(kind: HookKind): readonly HookCallback[] {
    return this.#hooks.take(kind);
  }

  /** Commits all sessions, and goes on. */
  async commitEarly(): Promise<void> {
    this.#assertMayCommit();
    const { outcomes, failure } = await commitSessions(
      { list: () => this.sessions, shut: (session) => session.prepare() },
      new CommitPlan(this.sessions),
    );
    if (failure !== undefined) {
      for (const { connectionName, outcome } of outcomes) {
        if (outcome !== 'committed') {
          this.#refusals.failed(connectionName, failure.error);
        }
      }
    }
    await this.#hooks.afterEarlyEnd(outcomes, failure !== undefined);
    if (failure !== undefined) {
      throw failure.error;
    }
  }

  /** Rolls all sessions back, and goes on. */
  async rollbackEarly(): Promise<void> {
    await rollbackSessions(this.sessions);
    this.#refusals.undoneAll();
    await this.#hooks.afterEarlyRollback();
  }

  /** Closes sessions, and goes on. */
  async closeEarly(sessions: readonly Session[]): Promise<void> {
    sessions.forEach(({ connectionName }) => this.#refusals.undone(connectionName));
    await closeSessions(sessions);
    await this.#hooks.afterEarlyRollback();
  }

  /** See {@link SessionObserver.assertMayCommit}. */
  assertMayCommit({ connectionName }: Session): void {
    const refusal = this.#refusals.errorOf(connectionName);
    if (refusal !== undefined) {
      throw refusal;
    }
  }

  /** See {@link SessionObserver.assertNotRollbackOnly}. */
  assertNotRollbackOnly(session: Session): void {
    if (this.#refusals.errorOf(session.connectionName)?.reason === 'rollback-only') {
      this.assertMayCommit(session);
    }
  }

  /** See {@link SessionObserver.beforeCommit}. */
  beforeCommit(session: Session): Promise<void> | undefined {
    return this.#hooks.beforeCommit(session);
  }

  /** See {@link SessionObserver.committed}. */
  committed(session: Session): Promise<void> {
    return this.#hooks.afterEarlyCommit([session.connectionName]);
  }

  /** See {@link SessionObserver.rolledBack}. */
  rolledBack({ connectionName }: Session): Promise<void> {
    this.#refusals.rolledBack(connectionName);
    return this.#hooks.afterEarlyRollback();
  }

  /** See {@link SessionObserver.undone}. */
  undone({ connectionName }: Session): void {
    this.#refusals.undone(connectionName);
  }

  /** See {@link SessionObserver.commitFailed}. */
  commitFailed({ connectionName }: Session, error: unknown): void {
    this.#refusals.failed(connectionName, error);
  }

  async #commit(): Promise<void> {
    this.#phase = 'flushing';
    const { outcomes, failure } = await this.#commitSessions();
    await this.endOwned();
    if (failure !== undefined) {
      await this.#hooks.afterEnd(outcomes, true);
      throw failure.error;
    }
    this.#phase = 'committed';
    await this.#hooks.afterEnd(outcomes, false);
  }

  async #commitSessions(): Promise<Settlement> {
    const plan = new CommitPlan(this.sessions);
    const shutAll = (): DbContextError | undefined => {
      this.#phase = 'closed';
      return this.unfinished.length > 0
        ? new UnexpectedRollbackError(this.anyConnection, 'unawaited-statements')
        : undefined;
    };
    try {
      await this.#beforeCommit();
    } catch (error) {
      shutAll();
      await closeSessions(this.sessions);
      return { outcomes: [], failure: { error } };
    }
    return commitSessions(
      { list: () => this.sessions, shutAll, shut: (session) => session.prepareForGood() },
      plan,
    );
  }

  /** @throws why the context must not be committed */
  async #beforeCommit(): Promise<void> {
    this.#assertMayCommit();
    if (!this.#hooks.isEmpty) {
      await this.sessions.reduce(
        (work, session) => session.whileOpen(work),
        this.#hooks.beforeEnd(),
      );
    }
  }

  #assertMayCommit(): void {
    const refusal = this.#refusals.errorOfAny(this.anyConnection);
    if (refusal !== undefined) {
      throw refusal;
    }
  }

  async #rollback(): Promise<void> {
    this.#phase = 'closed';
    // Also where no statement was sent: what was only persisted is lost as well.
    this.#undone = this.sessions[0]?.connectionName;
    await Promise.all([closeSessions(this.sessions), this.endOwned()]);
    await this.#hooks.afterEnd([], true);
  }
}
