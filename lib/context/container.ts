import type { EntityManager } from '@mikro-orm/core';

import type { Holder } from '../connection/pool-claims.js';
import type { WritePositions } from '../connection/write-positions.js';
import {
  CommitOutcomeUnknownError,
  InvalidTransactionStateError,
  PartialCommitError,
  SessionClosedError,
  UnexpectedRollbackError,
  type ContextTimeoutError,
  type ShuttingDownError,
} from '../errors.js';
import type { ContextPart } from '../session/context-part.js';
import type { SessionFactory } from '../session/session-factory.js';
import type { ContextOfSession, Session, SessionOptions } from '../session/session.js';
import { mergeSettings, type TransactionSettings } from '../transaction-settings.js';
import { FailedCommits } from './failed-commits.js';
import { ContextHooks, type HookCallback, type HookEnvironment, type HookKind } from './hooks.js';
import {
  closeSessions,
  CommitPlan,
  commitSessions,
  rollbackSessions,
  type SessionGroup,
} from './settlement.js';
import type { ContextWatch } from './watch.js';

/** What the contexts of an application share. */
export interface ContextSurroundings {
  /** Finds the factory of a connection; throws {@link UnknownConnectionError}. */
  readonly factory: (name: string) => SessionFactory;
  readonly environment: HookEnvironment;
  readonly watch: ContextWatch | undefined;
}

/** How a context is opened. */
export interface ContainerOptions {
  readonly surroundings: ContextSurroundings;
  readonly origin: string;
  readonly isDetached: boolean;
  /** The context that it was opened in. */
  readonly outer: DbContainer | undefined;
  /** What its reads must see, where that is kept; shared with the context that it was opened in. */
  readonly positions: WritePositions | undefined;
}

const NO_SESSIONS: ReadonlyMap<string, Session> = new Map();
const NO_SETTINGS: ReadonlyMap<string, TransactionSettings> = new Map();
const NOTHING_TO_DO = Promise.resolve();

/** How a context is to end. */
export type Decision = 'commit' | 'rollback';

/**
 * The sessions of one unit of work: at most one per connection, made on first use (M1), settled
 * exactly once (S4).
 */
export class DbContainer implements SessionGroup, Holder, ContextOfSession {
  readonly #surroundings: ContextSurroundings;
  // Most contexts of an application touch no session, and maps are what takes most of their memory.
  #sessions: ReadonlyMap<string, Session> = NO_SESSIONS;
  #settings: ReadonlyMap<string, TransactionSettings> = NO_SETTINGS;
  #settlement: Promise<void> | undefined;
  /** The first connection whose work a rollback undid; a later wish to commit must hear of it. */
  #undone: string | undefined;
  #isClosed = false;
  #isCommitted = false;
  readonly #hooks: ContextHooks;
  #failedCommits: FailedCommits | undefined;
  /** What is unfinished beside the transactions of its sessions. */
  #parts: Set<ContextPart> | undefined;
  #partsEnded: Promise<unknown> | undefined;
  /** Whether it only stands for a session in no context: no code ever runs in it. */
  readonly isDetached: boolean;
  /** What opened it, for messages: `OrdersController.create`, `dbContext.run()`. */
  origin: string;
  /** Told when it has been open for too long, and is rolled back, whatever its code is doing. */
  onExpire: ((error: ContextTimeoutError | ShuttingDownError) => void) | undefined;
  /** What its reads must see, and how far its writes are. */
  readonly positions: WritePositions | undefined;
  #outer: DbContainer | undefined;

  constructor(options: ContainerOptions) {
    const { surroundings, origin, isDetached, outer, positions } = options;
    this.#surroundings = surroundings;
    this.isDetached = isDetached;
    this.origin = origin;
    this.#hooks = new ContextHooks(surroundings.environment);
    this.#outer = outer;
    this.positions = positions;
  }

  /**
   * Finds the factory of a connection.
   *
   * @throws {@link UnknownConnectionError}
   */
  factory(name: string): SessionFactory {
    return this.#surroundings.factory(name);
  }

  /** The context that it was opened in, and that is still open: it goes on when this one ends. */
  get outer(): DbContainer | undefined {
    // Those that are over would be kept for ever by a job that restarts itself.
    while (this.#outer?.isClosed === true) {
      this.#outer = this.#outer.#outer;
    }
    return this.#outer;
  }

  /** Whether it gives out no sessions any more: its gates are shut. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether it has ended with a commit. */
  get isCommitted(): boolean {
    return this.#isCommitted;
  }

  /** The sessions that are open, in the order of their first use. */
  get sessions(): readonly Session[] {
    return [...this.#sessions.values()].filter((session) => !session.isClosed);
  }

  /** Names of all connections that it has, or had, a session of. */
  get connectionNames(): readonly string[] {
    return [...this.#sessions.keys()];
  }

  /** Whether a transaction is open, or a commit will open one to write what was only persisted. */
  get hasWork(): boolean {
    return this.sessions.some((session) => session.hasWork);
  }

  /** Whether nobody has used it yet, or nothing of the use is left. */
  get isUntouched(): boolean {
    const hasFailed = this.#failedCommits?.objection !== undefined;
    const isUnused = this.sessions.length === 0 && this.#hooks.isEmpty;
    return isUnused && !hasFailed && this.#unfinishedPart === undefined;
  }

  /** How many parts of its work have been committed before its end, so that no rollback undoes them. */
  get earlyCommits(): number {
    return this.#hooks.earlyCommits;
  }

  /**
   * The session of a connection, made on first use and again after it was closed.
   *
   * @throws {@link SessionClosedError} the context has been settled
   * @throws {@link UnknownConnectionError}
   */
  session(name: string): Session {
    const existing = this.#sessions.get(name);
    this.assertOpen(name);
    if (existing !== undefined && !existing.isClosed) {
      return existing;
    }
    const session = this.factory(name).create(this.#sessionOptions(name));
    this.#keep(name, session);
    return session;
  }

  /** The session to be ended: also a new one, where the commit of the last one has failed. */
  toEnd(name: string): Session | undefined {
    return this.#failedCommits?.has(name) === true ? this.session(name) : this.existing(name);
  }

  get failedCommits(): FailedCommits {
    this.#failedCommits ??= new FailedCommits();
    return this.#failedCommits;
  }

  /** See {@link SessionControl.own}. */
  own(part: ContextPart): () => void {
    this.assertOpen(part.connectionName);
    this.#parts ??= new Set();
    const parts = this.#parts.add(part);
    return () => void parts.delete(part);
  }

  get #unfinishedPart(): ContextPart | undefined {
    return this.#parts?.values().next().value;
  }

  /** @throws {@link SessionClosedError} the context has been settled */
  assertOpen(name: string): void {
    if (this.#isClosed) {
      this.#surroundings.watch?.usedLate(this, name);
      throw new SessionClosedError(name);
    }
  }

  /**
   * Makes the transactions of a connection begin with these settings.
   *
   * @throws {@link InvalidTransactionStateError} one has begun with others
   * @throws {@link UnknownConnectionError}
   */
  configure(name: string, settings: TransactionSettings): void {
    this.factory(name);
    this.existing(name)?.configure(settings);
    const merged = mergeSettings(this.#settings.get(name), settings);
    this.#settings = new Map([...this.#settings, [name, merged]]);
  }

  /** The session of a connection, if it has one. */
  existing(name: string): Session | undefined {
    const session = this.#sessions.get(name);
    return session?.isClosed === true ? undefined : session;
  }

  /**
   * Makes an entity manager the session of a connection.
   *
   * @throws {@link InvalidTransactionStateError} there is a session already, or the fork is in a
   *   transaction of its own
   */
  put(name: string, manager: EntityManager): void {
    this.assertOpen(name);
    const session = this.factory(name).from(manager, this.#sessionOptions(name));
    if ((this.existing(name) ?? session) !== session) {
      throw new InvalidTransactionStateError(
        name,
        'the context has a session already. Take it out with popSession() first.',
      );
    }
    this.#keep(name, session);
  }

  /** Takes a session out of the context, which then no longer settles it. */
  pop(name: string): Session | undefined {
    const session = this.existing(name);
    session?.observe(undefined);
    this.#sessions = new Map([...this.#sessions].filter(([each]) => each !== name));
    return session;
  }

  /**
   * Ends the context. The first call decides; a later one waits for it.
   *
   * @throws what {@link commitSessions} throws
   * @throws {@link UnexpectedRollbackError} a commit was asked for after somebody else (client
   *   gone, shutdown) had rolled back
   */
  async settle(decision: Decision): Promise<void> {
    if (this.#settlement !== undefined) {
      if (decision === 'rollback' && !this.#isClosed) {
        // The commit may hang in a hook or in its flush: it is given up, and not waited for.
        this.#settlement = this.#rollback();
      }
      await this.#settlement;
      if (decision === 'commit' && this.#undone !== undefined) {
        throw new UnexpectedRollbackError(this.#undone, 'context-ended');
      }
      return;
    }
    const settlement = decision === 'commit' ? this.#commit() : this.#rollback();
    this.#settlement = settlement;
    await settlement;
  }

  /**
   * Ends the context at once, if there is nothing to be settled.
   *
   * @returns whether it did
   */
  endUntouched(decision: Decision): boolean {
    if (this.#settlement !== undefined || !this.isUntouched) {
      return false;
    }
    this.#isClosed = true;
    this.#isCommitted = decision === 'commit';
    this.#settlement = NOTHING_TO_DO;
    return true;
  }

  /** From here on the context gives out no session: it would not be settled any more. */
  onShut(): void {
    this.#isClosed = true;
    const parts = [...(this.#parts ?? [])];
    parts.forEach((part) => part.shut());
    // Beside the sessions: these could wait for locks of theirs.
    this.#partsEnded ??=
      parts.length > 0 ? Promise.all(parts.map((part) => part.rollback())) : undefined;
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

  /** Takes out hooks, see {@link ContextHooks.take}. */
  takeHooks(kind: HookKind): readonly HookCallback[] {
    return this.#hooks.take(kind);
  }

  /** Commits all sessions, and goes on. See {@link commitSessions}. */
  async commitEarly(): Promise<void> {
    const listOpen = (): readonly Session[] => this.sessions;
    const names = listOpen().map(({ connectionName }) => connectionName);
    try {
      const group = {
        get sessions() {
          return listOpen();
        },
      };
      await commitSessions(group, this.#plan());
    } catch (error) {
      for (const name of names.filter((each) => !isCommitted(each, error))) {
        this.failedCommits.note(name, error);
      }
      await this.#hooks.afterEarlyRollback();
      throw error;
    }
    await this.#hooks.afterEarlyCommit(...this.sessions);
  }

  /** Rolls all sessions back, and goes on. See {@link rollbackSessions}. */
  async rollbackEarly(): Promise<void> {
    this.connectionNames.forEach((name) => this.toEnd(name));
    await rollbackSessions(this.sessions);
    await this.#hooks.afterEarlyRollback();
  }

  /** Closes sessions, and goes on. See {@link closeSessions}. */
  async closeEarly(sessions: readonly Session[]): Promise<void> {
    await closeSessions(sessions);
    await this.#hooks.afterEarlyRollback();
  }

  /** One that takes the place of another counts as used anew, at the end of the order. */
  #keep(name: string, session: Session): void {
    session.observe(this.#hooks, this);
    const others = [...this.#sessions].filter(([each]) => each !== name);
    this.#sessions = new Map([...others, [name, session]]);
  }

  #sessionOptions(name: string): SessionOptions {
    return {
      settings: this.#settings.get(name),
      holder: this,
      watch: this.#surroundings.watch?.session(this, name),
    };
  }

  #plan(): CommitPlan {
    return new CommitPlan(this.sessions, () => this.#failedCommits?.objection);
  }

  /** Of the end of the context: that of a session alone leaves the parts as they are. */
  #lastPlan(): CommitPlan {
    return new CommitPlan(this.sessions, () => {
      const name = this.#unfinishedPart?.connectionName;
      return (
        this.#failedCommits?.objection ??
        (name === undefined ? undefined : new UnexpectedRollbackError(name, 'unawaited-statements'))
      );
    });
  }

  async #commit(): Promise<void> {
    const plan = this.#lastPlan();
    try {
      if (!this.#hooks.isEmpty) {
        await this.#beforeCommit();
      }
      await commitSessions(this, plan, true);
    } catch (error) {
      await this.#partsEnded;
      if (error instanceof CommitOutcomeUnknownError) {
        this.#hooks.discard();
      } else {
        await this.#hooks.afterEnd('onRollback');
      }
      throw error;
    }
    this.#isCommitted = true;
    await this.#hooks.afterEnd('onCommit');
  }

  async #beforeCommit(): Promise<void> {
    try {
      await this.sessions.reduce(
        (work, session) => session.whileOpen(work),
        this.#hooks.beforeEnd(),
      );
    } catch (error) {
      this.onShut();
      await closeSessions(this.sessions);
      throw error;
    }
  }

  async #rollback(): Promise<void> {
    this.onShut();
    // Also where no statement was sent: what was only persisted is lost as well.
    this.#undone = this.sessions[0]?.connectionName;
    await closeSessions(this.sessions);
    await this.#partsEnded;
    await this.#hooks.afterEnd('onRollback');
  }
}

/** Whether a connection was committed by a commit of several that failed. */
function isCommitted(name: string, error: unknown): boolean {
  return (
    error instanceof PartialCommitError &&
    error.outcomes.some((each) => each.connectionName === name && each.outcome === 'committed')
  );
}
