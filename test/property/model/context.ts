import { DATABASES, type Database } from '../program.js';
import {
  ModelError,
  REFUSED,
  Undetermined,
  failedBefore,
  rethrowUndetermined,
} from './failures.js';
import { ModelHooks, type ModelHook } from './hooks.js';
import { ModelSession, type ModelWorld } from './session.js';
import type { Frame, ModelDatabase } from './transactions.js';

/** What a context needs of the interpreter. */
export interface ContextRegistry extends ModelWorld {
  readonly databases: Readonly<Record<Database, ModelDatabase>>;
  /** Runs a hook that is due inside of the context, as `beforeCommit` is. */
  runInside(hook: ModelHook, context: ModelContext): void;
  /** Runs a hook in a context of its own; what it throws is only logged. */
  runApart(hook: ModelHook): void;
}

/**
 * A unit of work: at most one session per connection, in the order of their first use (M1), and
 * the hooks.
 */
export class ModelContext {
  readonly #registry: ContextRegistry;
  readonly #sessions = new Map<Database, ModelSession>();
  /** The first commit by hand of each connection that failed. */
  readonly #failedCommits = new Map<Database, object>();
  readonly hooks = new ModelHooks();

  constructor(registry: ContextRegistry) {
    this.#registry = registry;
  }

  get sessions(): readonly ModelSession[] {
    return [...this.#sessions.values()].filter(({ isGone }) => !isGone);
  }

  existing(db: Database): ModelSession | undefined {
    return this.sessions.find(({ database }) => database.name === db);
  }

  session(db: Database): ModelSession {
    const existing = this.existing(db);
    if (existing !== undefined) {
      return existing;
    }
    const session = new ModelSession(this.#registry.databases[db], this.#registry);
    this.#sessions.delete(db);
    this.#sessions.set(db, session);
    return session;
  }

  /** Whether a commit by hand has failed and no rollback() has undone that. */
  hasFailed(db: Database): boolean {
    return this.#failedCommits.has(db);
  }

  /** C2: commits by hand that fail from now on, in a block whose caller gets its error. */
  rememberFailure(db: Database): { readonly assertNone: () => void; readonly forget: () => void } {
    const known = this.#failedCommits.get(db);
    const hasFailed = (): boolean =>
      this.#failedCommits.has(db) && this.#failedCommits.get(db) !== known;
    return {
      assertNone: () => {
        // One of before is no affair of the block, but no commit succeeds after it.
        if (this.#failedCommits.has(db)) {
          throw failedBefore();
        }
      },
      forget: () => {
        if (hasFailed()) {
          this.#failedCommits.delete(db);
        }
      },
    };
  }

  /** C1: commits one session now, and not for the sake of a block. */
  commitByHand(session: ModelSession): void {
    const { name } = session.database;
    this.#assertNotNested([session]);
    if (this.#failedCommits.has(name)) {
      throw failedBefore();
    }
    try {
      this.commitEarly(session);
    } catch (error) {
      this.#failedCommits.set(name, {});
      throw error;
    }
  }

  /** C1: commits one session now. */
  commitEarly(session: ModelSession): void {
    this.#assertNotNested([session]);
    const { name } = session.database;
    if (!session.hasWork) {
      this.#assertNoBound(name, 'the commit of nothing');
      return;
    }
    this.#endTogether(
      () => [session],
      () => {
        this.#flush(session);
        session.assertKeepable();
        this.#commitOne(session);
      },
    );
    session.rearm();
    this.#runAfterCommit([name]);
  }

  /** C1: as `commitEarly()`, of all sessions. */
  commitAll(): void {
    const { sessions } = this;
    this.#assertNotNested(sessions);
    this.#assertNothingFailed();
    for (const session of sessions.filter(({ hasWork }) => !hasWork)) {
      this.#assertNoBound(session.database.name, 'the commit of nothing');
    }
    try {
      this.#endTogether(
        () => this.sessions,
        () => this.#commitAll(),
      );
    } catch (error) {
      // What was committed before another one failed is not lost.
      const lost = sessions.filter(({ current }) => current.root.state !== 'kept');
      lost.forEach(({ database }) => this.#failedCommits.set(database.name, {}));
      throw error;
    }
    this.sessions.forEach((session) => session.rearm());
    this.#runAfterCommit(sessions.map(({ database }) => database.name));
  }

  /** F4, C1: as `rollbackEarly()`, and says that the loss of a failed commit is known. */
  rollbackByHand(sessions: readonly ModelSession[]): void {
    this.#assertNotNested(sessions);
    sessions.forEach(({ database }) => this.#failedCommits.delete(database.name));
    this.rollbackEarly(sessions);
  }

  /** C1: rolls sessions back now, and goes on in new transactions. */
  rollbackEarly(sessions: readonly ModelSession[]): void {
    this.#assertNotNested(sessions);
    this.#rollBack(sessions);
    const roots = sessions.map(({ current }) => current.root);
    sessions.forEach((session) => session.rearm());
    this.#runAfterRollback(roots);
  }

  /** C1: rolls sessions back and drops them. */
  close(sessions: readonly ModelSession[]): void {
    this.#assertNotNested(sessions);
    this.#drop(sessions);
    this.#runAfterRollback(sessions.map(({ current }) => current.root));
  }

  /** The end of the context, when all went well. */
  settleByCommit(): void {
    try {
      this.#assertNothingFailed();
      const isOfContext = ({ kind, bound }: ModelHook): boolean =>
        kind === 'beforeCommit' && bound === undefined;
      const isMixed = DATABASES.some((db) => this.hooks.hasBound(db));
      const due = this.hooks.take('beforeCommit', isOfContext);
      if (isMixed && due.length > 0) {
        throw new Undetermined('the order of hooks of the context and of a connection');
      }
      due.forEach((hook) => this.#registry.runInside(hook, this));
      this.#commitAll();
    } catch (error) {
      this.#drop(this.sessions);
      this.#runAtEnd('onRollback', error);
      throw error;
    }
    this.#drop(this.sessions);
    this.#runAtEnd('onCommit');
  }

  /** The end of the context, when something was thrown. */
  settleByRollback(): void {
    this.#drop(this.sessions);
    this.#runAtEnd('onRollback');
  }

  /** F4: before any hook runs, and before anything is flushed. */
  #assertNothingFailed(): void {
    if (this.#failedCommits.size > 0) {
      throw failedBefore();
    }
  }

  /** M1: all are flushed before any is committed. */
  #commitAll(): void {
    // A hook may bring further sessions.
    for (const flushed = new Set<ModelSession>(); ;) {
      const next = this.sessions.find((session) => !flushed.has(session));
      if (next === undefined) {
        break;
      }
      flushed.add(next);
      this.#flush(next);
    }
    const { sessions } = this;
    sessions.forEach((session) => session.assertKeepable());
    const committed: string[] = [];
    let isPartial = false;
    for (const [index, session] of sessions.entries()) {
      const { hasBegun, hasWritten } = session.current;
      const { name } = session.database;
      try {
        this.#commitOne(session);
      } catch (error) {
        // What has only read has nothing that was saved.
        if (!isPartial) {
          throw error;
        }
        const rest = sessions.slice(index + 1).map((each) => {
          const outcome = each.current.hasBegun ? 'rolled-back' : 'untouched';
          return `${each.database.name}:${outcome}`;
        });
        const outcomes = [...committed, `${name}:rolled-back`, ...rest];
        throw new ModelError(`PartialCommitError(${outcomes.join(' ')})`);
      }
      committed.push(`${name}:${hasBegun ? 'committed' : 'untouched'}`);
      isPartial ||= hasBegun && hasWritten;
    }
  }

  /** What belongs into the transaction before it is committed. */
  #flush(session: ModelSession): void {
    const { name } = session.database;
    // F4: it is not about to commit.
    session.assertNotFailed();
    const isDue = ({ kind, bound }: ModelHook): boolean =>
      kind === 'beforeCommit' && bound === name;
    if (session.hasWork) {
      session.database.beforeCommits++;
      const due = this.hooks.take('beforeCommit', isDue);
      due.forEach((hook) => this.#registry.runInside(hook, this));
    } else if (this.hooks.hasBound(name)) {
      throw new Undetermined('a hook of a transaction that never began');
    }
    session.flushForEnd();
  }

  #commitOne(session: ModelSession): void {
    if (session.current.hasBegun) {
      session.wait();
    }
    session.commit();
  }

  /** F4, C5: after an end that failed the sessions are gone, and their onRollback hooks run. */
  #endTogether(open: () => readonly ModelSession[], end: () => void): void {
    try {
      end();
    } catch (error) {
      rethrowUndetermined(error);
      // A hook may have brought further ones.
      const sessions = open();
      const isPartial = sessions.some(
        ({ current }) => current.root.state === 'kept' && current.hasWritten,
      );
      if (isPartial && !this.hooks.isEmpty) {
        throw new Undetermined('hooks of a commit that went half through');
      }
      this.#drop(sessions);
      this.#runAfterRollback(sessions.map(({ current }) => current.root));
      throw error;
    }
  }

  #drop(sessions: readonly ModelSession[]): void {
    this.#rollBack(sessions);
    for (const session of sessions) {
      session.isGone = true;
    }
  }

  #rollBack(sessions: readonly ModelSession[]): void {
    const { strayFrame } = this.#registry;
    // What is running on these is waited for, and undone; elsewhere time goes by.
    const isTold = sessions.some(({ current }) => current === strayFrame?.transaction);
    if (strayFrame !== undefined && !isTold) {
      sessions.filter(({ current }) => current.hasBegun).forEach((session) => session.wait());
    }
    sessions.forEach((session) => session.rollback());
  }

  #runAfterCommit(names: readonly Database[]): void {
    const isDue = ({ bound }: ModelHook): boolean => bound !== undefined && names.includes(bound);
    const due = this.hooks.take('onCommit', isDue);
    due.forEach((hook) => this.#registry.runApart(hook));
  }

  #runAfterRollback(roots: readonly Frame[]): void {
    const undone = this.hooks.takeRolledBack(roots.filter(({ state }) => state === 'undone'));
    undone.forEach((hook) => this.#registry.runApart(hook));
  }

  #runAtEnd(kind: 'onCommit' | 'onRollback', error?: unknown): void {
    if (error instanceof Undetermined) {
      return;
    }
    if (!this.hooks.isEmpty && error instanceof ModelError && error.label.startsWith('Partial')) {
      throw new Undetermined('hooks of a commit that went half through');
    }
    const due = this.hooks.take(kind, () => true);
    due.forEach((hook) => this.#registry.runApart(hook));
  }

  #assertNotNested(sessions: readonly ModelSession[]): void {
    if (sessions.some(({ isNested }) => isNested)) {
      throw new ModelError(REFUSED);
    }
  }

  #assertNoBound(name: Database, what: string): void {
    if (this.hooks.hasBound(name)) {
      throw new Undetermined(`hooks at ${what}`);
    }
  }
}
