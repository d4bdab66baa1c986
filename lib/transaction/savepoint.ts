import type { Answer } from '../connection/lease.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { SavepointTimeoutError, SessionClosedError, UnexpectedRollbackError } from '../errors.js';
import type { DbContextError, ErrorPlace } from '../errors.js';
import type { Outcome } from '../outcome.js';
import { AsyncScope } from './async-scope.js';
import { publishEnd, publishSet } from './savepoint-telemetry.js';
import type { WholeTransaction } from './whole-transaction.js';

/** Code that runs inside of a nested transaction, and so inside of its savepoint. */
export class SavepointScope extends AsyncScope {
  /** The savepoint, as soon as it is asked for. */
  savepoint: Savepoint | undefined;

  /** Whether the next savepoint that is set inside of it is its own. */
  get awaitsSavepoint(): boolean {
    return this.savepoint === undefined;
  }
}

/**
 * A stretch of a transaction that ends as one: the whole of it, or what came after a savepoint.
 * Savepoints of PostgreSQL are a stack, so a rollback to one erases everything after it, also what
 * parallel branches did. Therefore at most one savepoint is open on each part, and statements of the
 * part itself or of a parallel branch wait until it has ended; only code that runs inside of the
 * savepoint goes on (F5).
 */
export abstract class TransactionPart {
  abstract readonly whole: WholeTransaction<TransactionPart>;
  abstract readonly parent: TransactionPart | undefined;
  #child: Savepoint | undefined;
  /** Number of statements that were asked for and have not been answered. */
  unfinished = 0;

  /** Whether it accepts statements, and so do all parts that it lies in. */
  abstract get isOpen(): boolean;
  /** How it has ended; `undefined` while it has not. */
  abstract get outcome(): Outcome | undefined;
  /** Whether what was done in it is not saved, or nobody can say that it is. */
  abstract get isUndone(): boolean;

  /** Whether a rollback to a savepoint has undone it, rather than the end of the whole transaction. */
  get isUndoneSavepoint(): boolean {
    return false;
  }

  /** The savepoint that is open on top of this part. */
  get child(): Savepoint | undefined {
    return this.#child;
  }

  /** Whether statements are refused. */
  get isShut(): boolean {
    return !this.isOpen || this.whole.isShut;
  }

  get connectionName(): string {
    return this.whole.connectionName;
  }

  /** Where its errors happen. */
  get place(): ErrorPlace {
    return this.whole.place;
  }

  /** The whole transaction, as a part. */
  get root(): TransactionPart {
    return this.parent?.root ?? this;
  }

  /** Whether this part is `other`, or lies inside of it. */
  isIn(other: TransactionPart): boolean {
    return this === other || this.isWithin(other);
  }

  /** Whether this part lies inside of `other`, at any depth. */
  isWithin(other: TransactionPart): boolean {
    let part: TransactionPart | undefined = this.whole === other.whole ? this.parent : undefined;
    while (part !== undefined && part !== other) {
      part = part.parent;
    }
    return part === other;
  }

  /** The innermost savepoint inside of this part that the current code runs in, also if it has ended. */
  get innermost(): TransactionPart {
    if (AsyncScope.isEmpty) {
      return this;
    }
    const scope = AsyncScope.innermost(
      SavepointScope,
      // Outside of this part nothing lies within it. A statement of code that is nested deeply ends here at once.
      ({ savepoint }) => savepoint?.isIn(this) === true,
    );
    return scope?.savepoint ?? this;
  }

  /**
   * Sends a statement as part of this.
   *
   * @param onSend called as its turn comes, right before it leaves; refuses it by throwing
   */
  run(sql: string, values: readonly unknown[] = [], onSend?: () => void): Promise<Answer> {
    return this.#enter((part) => part.whole.send(part, sql, values, onSend));
  }

  /**
   * Lends the client of the transaction to `callback`. Nobody else sends a statement meanwhile.
   *
   * @throws what `callback` throws, or why the transaction is over
   * @throws {@link InvalidTransactionStateError} the client was still at work as `callback` returned
   */
  lend<T>(callback: (client: object) => T | Promise<T>): Promise<T> {
    return this.#enter((part) => part.whole.lendTo(part, callback));
  }

  /** Sets a savepoint; waits for its turn while another one is open. */
  openSavepoint(name: string): Promise<Savepoint> {
    return this.#enter(async (part) => {
      const child = new Savepoint(part, name);
      part.#child = child;
      const scope = AsyncScope.innermost(SavepointScope, () => true);
      if (scope?.awaitsSavepoint === true) {
        scope.savepoint = child;
      }
      try {
        await part.whole.send(part, part.whole.server.setSavepoint(name), []);
      } catch (error) {
        child.finish('rolled-back');
        throw error;
      }
      child.wasSet();
      return child;
    });
  }

  /** Takes note that a savepoint has ended. */
  childEnded(child: Savepoint): void {
    if (this.#child === child) {
      this.#child = undefined;
    }
  }

  /** @throws what a statement would be refused with */
  assertOpen(): void {
    this.whole.assertOpen();
    if (!this.isOpen) {
      // The whole is open, so that this is a savepoint.
      throw new SessionClosedError(this.place, 'transactional()');
    }
  }

  /**
   * Finds the part that the calling code belongs to, waits until no savepoint is open on it, and uses
   * it at once: between the look and the use nobody else gets in.
   */
  #enter<T>(use: (part: TransactionPart) => Promise<T>): Promise<T> {
    const part = this.innermost;
    return part.#child === undefined ? use(part) : part.#enterLater(use);
  }

  async #enterLater<T>(use: (part: TransactionPart) => Promise<T>): Promise<T> {
    const { whole } = this;
    this.unfinished++;
    try {
      for (let child = this.#child; child !== undefined; child = this.#child) {
        this.assertOpen();
        const limitMs = whole.savepointTimeoutMs;
        const waited = await withinLimit(Promise.race([child.ended, whole.whenShut]), limitMs);
        if (waited === TIMED_OUT) {
          throw new SavepointTimeoutError(this.place, limitMs);
        }
      }
      return await use(this);
    } finally {
      this.unfinished--;
    }
  }
}

type SavepointState =
  | { readonly tag: 'open' }
  | { readonly tag: 'shut'; readonly blocker: DbContextError | undefined }
  | { readonly tag: 'ended'; readonly outcome: SavepointOutcome };

/** `unknown`: it was open when the part that it lies in ended. */
type SavepointOutcome = Exclude<Outcome, 'untouched'>;

/** What came after a savepoint. */
export class Savepoint extends TransactionPart {
  readonly whole: WholeTransaction<TransactionPart>;
  readonly parent: TransactionPart;
  readonly name: string;
  /** Whether the server has set it, for those who listen. */
  isSet = false;
  #state: SavepointState = { tag: 'open' };
  /** Made where somebody waits for its end, which hardly anybody does. */
  #whenEnded: PromiseWithResolvers<void> | undefined;

  /** @param parent the part that it lies in; the savepoint is set there, not here */
  constructor(parent: TransactionPart, name: string) {
    super();
    this.whole = parent.whole;
    this.parent = parent;
    this.name = name;
  }

  /** Resolves when it has ended. */
  get ended(): Promise<void> {
    this.#whenEnded ??= Promise.withResolvers();
    if (this.outcome !== undefined) {
      this.#whenEnded.resolve();
    }
    return this.#whenEnded.promise;
  }

  override get isOpen(): boolean {
    return this.#state.tag === 'open' && this.parent.isOpen;
  }

  override get outcome(): SavepointOutcome | undefined {
    return this.#state.tag === 'ended' ? this.#state.outcome : undefined;
  }

  override get isUndone(): boolean {
    const isKept = this.#state.tag === 'open' || this.outcome === 'committed';
    return !isKept || this.parent.isUndone;
  }

  override get isUndoneSavepoint(): boolean {
    return this.outcome === 'rolled-back' || this.parent.isUndoneSavepoint;
  }

  /** Takes note that the server has set it; the whole transaction may have ended meanwhile. */
  wasSet(): void {
    this.isSet = this.outcome === undefined;
    publishSet(this);
  }

  /**
   * Ends it and keeps what it did.
   *
   * @throws {@link UnexpectedRollbackError} a statement failed in it, or was not awaited; it then has
   *   to be rolled back
   */
  async release(): Promise<void> {
    this.assertOpen();
    const blocker = this.#shut();
    if (blocker !== undefined) {
      throw blocker;
    }
    await this.whole.send(this.parent, this.whole.server.releaseSavepoint(this.name), []);
    this.finish('committed');
  }

  /** Ends it and undoes everything since. */
  async rollback(): Promise<void> {
    this.#shut();
    // With the part that it lies in, the savepoint itself is gone.
    const assertExists = (): void => {
      if (this.#state.tag !== 'shut' || !this.parent.isOpen) {
        throw new SessionClosedError(this.place);
      }
    };
    assertExists();
    try {
      const { server } = this.whole;
      await this.whole.send(this.parent, server.undoSavepoint(this.name), [], assertExists);
    } finally {
      this.finish('rolled-back');
    }
  }

  /**
   * Undoes it where nobody has ended it; there is nothing to wait for where somebody has. It never rejects: the
   * failure of the whole transaction has the reason.
   */
  undo(): Promise<void> | undefined {
    return this.#state.tag === 'open' ? this.rollback().catch(() => undefined) : undefined;
  }

  /** Marks it as ended, and with it what is open inside of it. */
  finish(outcome: SavepointOutcome): void {
    publishEnd(this, outcome);
    this.#state = { tag: 'ended', outcome };
    // Not as rolled back: MikroORM takes that for a success of the callback, which it was not.
    this.child?.finish('unknown');
    this.#whenEnded?.resolve();
    this.parent.childEnded(this);
  }

  #shut(): DbContextError | undefined {
    if (this.#state.tag === 'open') {
      this.#state = { tag: 'shut', blocker: this.#commitBlocker };
    }
    return this.#state.tag === 'shut' ? this.#state.blocker : undefined;
  }

  get #commitBlocker(): DbContextError | undefined {
    const { failure } = this.whole;
    if (this.unfinished > 0 || this.child !== undefined) {
      return new UnexpectedRollbackError(this.place, 'unawaited-statements', failure?.error);
    }
    return failure && new UnexpectedRollbackError(this.place, 'failed-statement', failure.error);
  }
}
