import type { PgResult } from '../connection/pg-client.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import {
  CommitOutcomeUnknownError,
  InvalidTransactionStateError,
  SavepointTimeoutError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import type { TransactionLease } from './lease.js';
import { claimNesting, innermostScope } from './nesting.js';

type ScopeState = 'open' | 'shut' | 'committed' | 'rolled-back';

/**
 * A stretch of a transaction that ends as one: the whole of it (the root), or what came after a
 * savepoint. Savepoints of PostgreSQL are a stack, so a rollback to one erases everything after
 * it, whoever issued it. Therefore at most one child is open at a time, and statements of the
 * parent or of a sibling wait until it has ended; only code that runs inside the child goes on
 * (F5).
 */
export class TransactionScope {
  readonly #lease: TransactionLease;
  readonly #parent: TransactionScope | undefined;
  readonly #savepointTimeoutMs: number;
  #child: { readonly scope: TransactionScope; readonly ended: Promise<void> } | undefined;
  #onEnd: (() => void) | undefined;
  /** Of its savepoint. */
  #name: string | undefined;
  #state: ScopeState = 'open';
  #unfinished = 0;
  #objection: DbContextError | undefined;

  constructor(lease: TransactionLease, savepointTimeoutMs: number, parent?: TransactionScope) {
    this.#lease = lease;
    this.#savepointTimeoutMs = savepointTimeoutMs;
    this.#parent = parent;
  }

  get connectionName(): string {
    return this.#lease.connectionName;
  }

  get parent(): TransactionScope | undefined {
    return this.#parent;
  }

  get state(): ScopeState {
    return this.#state;
  }

  /** Whether statements are refused: it has ended, or whatever it lies in has. */
  get isShut(): boolean {
    return !this.#isOpen || this.#lease.isShut;
  }

  get #isOpen(): boolean {
    return this.#state === 'open' && (this.#parent === undefined || this.#parent.#isOpen);
  }

  /** The whole transaction that it is part of. */
  get root(): TransactionScope {
    return this.#parent?.root ?? this;
  }

  /** Whether it has ended and nobody can say that what was done in it is saved. */
  get isUndone(): boolean {
    const isLost = this.#state === 'rolled-back' || this.#state === 'shut';
    return isLost || this.#parent?.isUndone === true;
  }

  /** Whether it was undone by a rollback to a savepoint, rather than with the whole transaction. */
  get isUndoneSavepoint(): boolean {
    return (
      this.#parent !== undefined &&
      (this.#state === 'rolled-back' || this.#parent.isUndoneSavepoint)
    );
  }

  get hasBegun(): boolean {
    return this.#lease.hasBegun;
  }

  /** The savepoint that is open on top of this scope. */
  get openChild(): TransactionScope | undefined {
    return this.#child?.scope;
  }

  get lease(): TransactionLease {
    return this.#lease;
  }

  /** Whether this scope lies below `ancestor`, at any depth. */
  isWithin(ancestor: TransactionScope): boolean {
    for (let each = this.#parent; each !== undefined; each = each.#parent) {
      if (each === ancestor) {
        return true;
      }
    }
    return false;
  }

  /**
   * Sends a statement as part of this scope.
   *
   * @param onSend called as its turn comes, right before it leaves; refuses it by throwing
   */
  run(
    sql: string,
    values: readonly unknown[] = [],
    onSend?: () => void,
  ): Promise<PgResult | PgResult[]> {
    return this.#enter((scope) => {
      const gate = (): void => {
        scope.#assertOpen();
        onSend?.();
      };
      return this.#lease.run(sql, values, gate);
    });
  }

  /** Opens a savepoint; waits for its turn while another one of this scope is open. */
  openSavepoint(name: string): Promise<TransactionScope> {
    return this.#enter(async (scope) => {
      const child = new TransactionScope(this.#lease, this.#savepointTimeoutMs, scope);
      child.#name = name;
      const ended = new Promise<void>((resolve) => {
        child.#onEnd = resolve;
      });
      scope.#child = { scope: child, ended };
      claimNesting(child);
      try {
        await this.#lease.run(`savepoint ${quote(name)}`, [], () => scope.#assertOpen());
      } catch (error) {
        child.#finish('rolled-back');
        throw error;
      }
      return child;
    });
  }

  /**
   * Ends a savepoint and keeps what it did.
   *
   * @throws {@link UnexpectedRollbackError} a statement failed in it, or was not awaited; the
   *   savepoint then has to be rolled back
   */
  async releaseSavepoint(name: string): Promise<void> {
    this.#assertOpen();
    const objection = this.#shut();
    if (objection !== undefined) {
      throw objection;
    }
    await this.#lease.run(`release savepoint ${quote(name)}`, [], allow);
    this.#finish('committed');
  }

  /** Ends a savepoint and undoes everything since. */
  async rollbackToSavepoint(name: string): Promise<void> {
    // With what it lies in, the savepoint itself is gone, and asking for it would be an error.
    const assertExists = (): void => {
      if (this.#state !== 'shut' || this.#parent === undefined || !this.#parent.#isOpen) {
        throw new SessionClosedError(this.connectionName);
      }
    };
    this.#shut();
    assertExists();
    try {
      const savepoint = quote(name);
      await this.#lease.run(
        `rollback to savepoint ${savepoint}; release savepoint ${savepoint}`,
        [],
        assertExists,
      );
    } finally {
      this.#finish('rolled-back');
    }
  }

  /** @throws {@link UnexpectedRollbackError} a statement has failed, so it cannot be committed */
  assertNotFailed(): void {
    const { objection } = this.#lease;
    if (objection !== undefined && !this.isShut) {
      throw objection;
    }
  }

  /** Undoes a savepoint that nobody has ended. Never throws: what it lies in tells of the reason. */
  async undo(): Promise<void> {
    if (this.#state === 'open' && this.#name !== undefined) {
      await this.rollbackToSavepoint(this.#name).catch(() => undefined);
    }
  }

  /**
   * Shuts the gate of the whole transaction, synchronously. May be asked again.
   *
   * @returns why it cannot be committed, if it cannot
   */
  shut(): DbContextError | undefined {
    const objection = this.#shut();
    return this.#lease.shut() ?? objection;
  }

  /** Commits the whole transaction, see {@link TransactionLease.commit}. */
  async commit(): Promise<void> {
    this.#assertRoot('commit');
    const objection = this.shut();
    if (objection !== undefined) {
      await this.rollback();
      throw objection;
    }
    try {
      await this.#lease.commit();
    } catch (error) {
      this.#finish(error instanceof CommitOutcomeUnknownError ? 'shut' : 'rolled-back');
      throw error;
    }
    this.#finish('committed');
  }

  /** Rolls the whole transaction back. Does not throw on faults of the connection. */
  async rollback(): Promise<void> {
    this.#assertRoot('rollback');
    this.#shut();
    await this.#lease.rollback();
    this.#finish('rolled-back');
  }

  #shut(): DbContextError | undefined {
    if (this.#state === 'open') {
      this.#state = 'shut';
      this.#objection = this.#objectionToCommit();
    }
    return this.#objection;
  }

  #objectionToCommit(): DbContextError | undefined {
    const { failure } = this.#lease;
    if (this.#unfinished > 0 || this.#child !== undefined) {
      return new UnexpectedRollbackError(this.connectionName, 'unawaited-statements', failure);
    }
    // The lease speaks for the root: it also knows what became of the connection.
    return this.#parent === undefined || failure === undefined
      ? undefined
      : new UnexpectedRollbackError(this.connectionName, 'failed-statement', failure);
  }

  /**
   * Waits until no child is open, finds the scope that the calling code belongs to, and uses it
   * at once: between the look and the use nobody else gets in.
   */
  #enter<T>(use: (scope: TransactionScope) => Promise<T>): Promise<T> {
    return this.#counted(async () => {
      for (;;) {
        this.#assertOpen();
        const own = innermostScope(this);
        if (own !== undefined) {
          // Once the callback has returned, this refuses what it left behind.
          return own.#enter(use);
        }
        const child = this.#child;
        if (child === undefined) {
          return use(this);
        }
        this.#lease.assertOpen();
        const ended = Promise.race([child.ended, this.#lease.whenShut]);
        const waited = await withinLimit(ended, this.#savepointTimeoutMs);
        if (waited === TIMED_OUT) {
          throw new SavepointTimeoutError(this.connectionName, this.#savepointTimeoutMs);
        }
      }
    });
  }

  async #counted<T>(task: () => Promise<T>): Promise<T> {
    this.#unfinished++;
    try {
      return await task();
    } finally {
      this.#unfinished--;
    }
  }

  #finish(state: 'shut' | 'committed' | 'rolled-back'): void {
    this.#state = state;
    const child = this.openChild;
    if (child !== undefined) {
      // Not by its own rollback: MikroORM takes that for a success, which the child has not had.
      child.#finish('shut');
    }
    this.#onEnd?.();
    const parent = this.#parent;
    if (parent?.openChild === this) {
      parent.#child = undefined;
    }
  }

  #assertOpen(): void {
    if (!this.#isOpen) {
      this.#lease.refuse();
    }
  }

  #assertRoot(verb: string): void {
    if (this.#parent !== undefined) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        `${verb}() was called on a savepoint.`,
      );
    }
  }
}

const allow = (): void => undefined;

function quote(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}
