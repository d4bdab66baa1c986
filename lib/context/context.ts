import {
  SessionClosedError,
  UnexpectedRollbackError,
  type ContextTimeoutError,
  type DbContextError,
  type EndCause,
  type ShuttingDownError,
} from '../errors.js';
import type { Session } from '../session/session.js';
import { ContextSessions, type OpeningOptions } from './context-sessions.js';
import { EarlyEnds } from './early-ends.js';
import type { Decision } from './end-by.js';
import type { HookCallback, HookKind } from './hook-calls.js';
import { HOOK_CALLS } from './hooks.js';
import { SessionEnds } from './session-ends.js';
import { closeSessions, CommitPlan, commitSessions, type Settlement } from './settlement.js';

/** How a context is opened. */
export interface ContextOptions extends OpeningOptions {
  /** The context that it was opened in. */
  readonly outer: Context | undefined;
}

const NO_ROUTES: readonly string[] = [];

/**
 * Where a context stands: `flushing` from the beginning of its commit, when flush hooks may still use
 * its sessions; `closed` when its gates are shut, and it gives out no sessions any more.
 */
type Phase = 'open' | 'flushing' | 'closed' | 'committed';

/**
 * One unit of work: at most one session for each connection, made on first use (M1), and settled
 * exactly once (S4).
 */
export class Context extends ContextSessions {
  #phase: Phase = 'open';
  /** The end that is under way or over; a second one waits for it. */
  #settlement: Promise<void> | undefined;
  /** The rollback that has given up a commit, as it hung in a hook or in its flush. */
  #overtaking: Promise<void> | undefined;
  /** The first connection whose work a rollback undid; a later wish to commit must learn of it. */
  undone: string | undefined;
  /** What the ends of its sessions mean for it. */
  readonly ends: SessionEnds;
  #early: EarlyEnds | undefined;
  /** Called when it has been open for too long, and is rolled back while its code still runs. */
  onExpire: ((error: ContextTimeoutError | ShuttingDownError) => void) | undefined;
  /** Where the registry keeps it while it runs, and what ends it when that takes too long. */
  slot: number | undefined;
  expiry: NodeJS.Timeout | undefined;
  #outer: Context | undefined;
  /** The first statement that was refused after the end. */
  #refusal: Error | undefined;
  /** The routes that have joined it, and have not been answered. */
  #joined = NO_ROUTES;

  constructor(options: ContextOptions) {
    super(options);
    this.ends = new SessionEnds(options.dependencies.environment, this);
    this.#outer = options.outer;
  }

  protected get observer(): SessionEnds {
    return this.ends;
  }

  /** The context that it was opened in, and that is still open: it goes on when this one ends. */
  get outer(): Context | undefined {
    // A job that starts itself again would otherwise keep the contexts of all its runs.
    while (this.#outer?.isClosed === true) {
      this.#outer = this.#outer.#outer;
    }
    return this.#outer;
  }

  /** Whether its end has begun. */
  get isEnding(): boolean {
    return this.#phase !== 'open';
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

  /** Whether nobody has used it yet, or nothing of the use is left. */
  get isUntouched(): boolean {
    return (
      this.sessions.length === 0 &&
      !this.ends.hasHooks &&
      this.ends.refusesNothing &&
      !this.#isWorking &&
      this.#early?.closing === undefined
    );
  }

  /** Whether work of it is under way that nobody awaits. */
  get #isWorking(): boolean {
    return this.hasWorkBeside || this.ends.hasBlocks || this.#early?.isCommitting === true;
  }

  /** Ends after which it goes on, made when the first one is asked for. */
  get early(): EarlyEnds {
    return (this.#early ??= new EarlyEnds(this));
  }

  /** How many parts of its work have been committed before its end, so that no rollback undoes them. */
  get earlyCommits(): number {
    return this.ends.hooks.earlyCommits;
  }

  /**
   * Lets the messages of an end that comes too early name a route that works in the context.
   *
   * @returns is to be called when that route is answered
   */
  join(route: string): () => void {
    this.#joined = [...this.#joined, route];
    return () => {
      this.#joined = this.#joined.toSpliced(this.#joined.indexOf(route), 1);
    };
  }

  /** Whoever looks for the cause of an early commit knows the route, and not what has opened the context. */
  #nameJoined(): void {
    if (this.#joined.length > 0) {
      this.origin += ` (joined by ${[...new Set(this.#joined)].join(', ')})`;
    }
  }

  /**
   * The session that an end is asked for; also a new one, where a failed commit has closed the last.
   *
   * @throws {@link SessionClosedError}, {@link UnknownConnectionError}
   */
  toEnd(name: string): Session | undefined {
    this.assertOpen(name);
    this.factory(name);
    return this.ends.errorOf(name) === undefined ? this.existing(name) : this.session(name);
  }

  /** @throws {@link SessionClosedError} the context has been settled (S5) */
  assertOpen(name: string): void {
    if (this.isClosed) {
      const error = new SessionClosedError(this.placeOf(name), undefined, {
        because: this.endCause,
      });
      this.refused(error);
      throw error;
    }
  }

  /** See {@link Holder.refused}. */
  override refused(error: Error): void {
    if (this.isClosed) {
      this.#refusal ??= error;
    }
    super.refused(error);
  }

  /**
   * What was to be saved after the end, and is not: its error, which may have been swallowed, or one for
   * entities that were changed. Code that nobody awaits is answered by nobody; a handler is.
   */
  get lateLoss(): Error | undefined {
    const { unsaved } = this;
    return (
      this.#refusal ??
      (unsaved &&
        new SessionClosedError(this.placeOf(unsaved.connectionName), undefined, {
          unsaved: unsaved.entityNames,
        }))
    );
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
    this.ends.rollbackOnly(name);
  }

  /**
   * Ends the context. The first call decides; a later one waits for it (S4).
   *
   * @param cause why it is rolled back, where that is not decided by its own code
   * @throws why not all of it is committed
   * @throws {@link UnexpectedRollbackError} a commit was asked for after somebody else (a client that
   *   left, a shutdown) had rolled back
   */
  settle(decision: Decision, cause?: EndCause): Promise<void> {
    // A commit may hang in a hook or in its flush: a rollback gives it up, and does not wait for it.
    const isOvertaken = decision === 'rollback' && this.#phase === 'flushing';
    if (this.#phase === 'open' || isOvertaken) {
      this.endCause = cause;
      if (decision === 'commit') {
        this.#nameJoined();
      }
      if (decision === 'rollback' ? this.sessions.length > 0 : this.#isWorking) {
        this.endsUnfinished();
      }
      const end = decision === 'commit' ? this.#commit() : this.#rollback();
      this.#overtaking = isOvertaken ? end : undefined;
      this.#settlement = end;
      return end;
    }
    return this.#awaitEnd(decision);
  }

  /** Waits for the end that is under way or over. @throws {@link UnexpectedRollbackError} it undid what was to stay */
  async #awaitEnd(decision: Decision): Promise<void> {
    await this.#settlement;
    if (decision === 'commit' && this.undone !== undefined) {
      const place = this.placeOf(this.undone);
      throw new UnexpectedRollbackError(place, 'context-ended', undefined, this.endCause);
    }
  }

  /**
   * Ends the context at once, if there is nothing to be settled (L2).
   *
   * @returns whether it did
   */
  endUntouched(decision: Decision, cause?: EndCause): boolean {
    if (this.#phase !== 'open' || !this.isUntouched) {
      return false;
    }
    this.endCause = cause;
    if (decision === 'commit') {
      this.#nameJoined();
    }
    this.#phase = decision === 'commit' ? 'committed' : 'closed';
    return true;
  }

  /**
   * Adds a hook.
   *
   * @param name the connection whose transaction it is bound to; all of the context if omitted
   * @throws {@link SessionClosedError}, {@link UnknownConnectionError}
   * @throws {@link InvalidTransactionStateError} the calling code is in the transaction of another session
   */
  addHook(kind: HookKind, callback: HookCallback, name?: string): void {
    this.assertFollows(HOOK_CALLS[kind], name);
    const sessions = name === undefined ? this.sessions : [this.session(name)];
    this.ends.hooks.add(kind, callback, sessions, name);
  }

  /** Takes out hooks, see `ContextHooks.take()`. */
  takeHooks(kind: HookKind): readonly HookCallback[] {
    return this.ends.hooks.take(kind);
  }

  /** @throws {@link UnexpectedRollbackError} why it must not be committed */
  assertMayCommit(): void {
    const refusal = this.ends.errorOfAny(this.anyConnection);
    if (refusal !== undefined) {
      throw refusal;
    }
  }

  async #commit(): Promise<void> {
    this.#phase = 'flushing';
    this.ends.isCommitting = true;
    const { outcomes, failure } = await this.#commitSessions();
    if (this.#overtaking !== undefined) {
      // Hooks, and who waits for the commit, come after the end that took its place.
      await this.#overtaking.catch(() => undefined);
    }
    if (this.hasWorkBeside) {
      await this.endOwned();
    }
    if (failure !== undefined) {
      await this.ends.hooks.afterEnd(outcomes, true);
      throw failure.error;
    }
    this.#phase = 'committed';
    if (this.ends.hasHooks) {
      await this.ends.hooks.afterEnd(outcomes, false);
    }
  }

  #commitSessions(): Promise<Settlement> {
    const plan = new CommitPlan(this.sessions);
    const shutAll = (): DbContextError | undefined => {
      this.#phase = 'closed';
      const closing = this.#early?.closing;
      return this.#isWorking
        ? new UnexpectedRollbackError(this.placeOf(this.anyConnection), 'unawaited-statements')
        : closing === undefined
          ? this.ends.errorOfAny(this.anyConnection)
          : new UnexpectedRollbackError(closing.place, 'ended-meanwhile');
    };
    return commitSessions(
      {
        list: () => this.sessions,
        beforeFlush: () => this.#beforeFlush(plan),
        shutAll,
        shut: (session) => session.prepareForGood(),
      },
      plan,
    );
  }

  /** @throws why the context must not be committed */
  #beforeFlush(plan: CommitPlan): Promise<void> | undefined {
    this.assertMayCommit();
    return this.ends.hasHooks && this.ends.hooks.awaitsCommitOf(undefined)
      ? this.#whileHooksRun(plan)
      : undefined;
  }

  async #whileHooksRun(plan: CommitPlan): Promise<void> {
    try {
      await this.sessions.reduce(
        (work, session) => session.whileOpen(work),
        this.ends.hooks.beforeEnd(),
      );
    } catch (error) {
      // A hook that has ended a session itself has sent nothing that was refused.
      const isOwnEnd = error instanceof SessionClosedError && this.endCause === undefined;
      const open = this.sessions.filter(({ transaction }) => transaction.isOpen);
      throw (isOwnEnd ? plan.blockerFor(open) : undefined) ?? error;
    }
  }

  async #rollback(): Promise<void> {
    this.#phase = 'closed';
    // Also where no statement was sent: what was only persisted is lost as well.
    this.undone = this.sessions[0]?.connectionName;
    await Promise.all([closeSessions(this.sessions, 'context-ended'), this.endOwned()]);
    await this.ends.hooks.afterEnd([], true);
  }
}
