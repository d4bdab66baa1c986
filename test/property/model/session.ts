import { TAKEN } from '../program.js';
import {
  ABORTED,
  CLOSED,
  ModelError,
  ORPHANED,
  Undetermined,
  rolledBackBy,
  serverError,
  unawaited,
  type SqlState,
} from './failures.js';
import { Transaction, nextNumber, type Change, Frame, type ModelDatabase } from './transactions.js';

/** What all sessions of a program share. */
export interface ModelWorld {
  /** `begin: 'first-write'`: reads before the first write begin nothing. */
  readonly readsAhead: boolean;
  /** The one place where a statement that nobody awaits may be running. */
  strayFrame: Frame | undefined;
}

/** An entity manager with a transaction that begins with the first statement. */
export class ModelSession {
  readonly database: ModelDatabase;
  readonly #world: ModelWorld;
  /** One, and those of other propagations that are open above it. */
  readonly transactions: Transaction[] = [new Transaction()];
  /** Whether it can never be used again. */
  isGone = false;
  /** Whether savepoints that nobody awaits are at work on it. */
  isAbandoned = false;

  constructor(database: ModelDatabase, world: ModelWorld) {
    this.database = database;
    this.#world = world;
  }

  get current(): Transaction {
    return this.transactions.at(-1)!;
  }

  get top(): Frame {
    return this.current.top;
  }

  get isNested(): boolean {
    return this.transactions.length > 1 || this.current.frames.length > 1;
  }

  get hasWork(): boolean {
    return this.current.hasBegun || this.current.root.pending.length > 0;
  }

  /** Rows as a statement of this session sees them: what is committed, and its own changes. */
  get visible(): string[] {
    const rows = new Map(this.database.rows);
    this.current.frames.forEach(({ changes }) => changes.forEach((change) => change(rows)));
    return [...rows.keys()].toSorted();
  }

  /** Whether a read that is sent now is in no transaction of this session. */
  get isReadAhead(): boolean {
    const { hasBegun, isAutocommit } = this.current;
    // For requires_new MikroORM may have to be notified of the begin.
    const isOwn = this.transactions.length === 1;
    return this.#world.readsAhead && isOwn && !hasBegun && !isAutocommit;
  }

  /** Sends a read, which begins what any statement begins, unless reads do not. */
  read(): void {
    if (this.isReadAhead && !this.isGone) {
      this.wait();
    } else {
      this.#send();
    }
  }

  /** Sends a statement that may write, which begins where nothing has begun. */
  send(): void {
    this.#send();
    this.current.hasWritten = true;
  }

  #send(): void {
    if (this.isGone) {
      throw new ModelError(CLOSED);
    }
    this.wait();
    this.#begin();
    if (this.top.failure !== undefined) {
      throw new ModelError(ABORTED);
    }
  }

  /** Time goes by; a statement of this very session comes after those that are running. */
  wait(): void {
    const { strayFrame } = this.#world;
    if (strayFrame === undefined) {
      return;
    }
    if (strayFrame !== this.top) {
      throw new Undetermined('whether a running statement has ended meanwhile');
    }
    this.insert(strayFrame.stray!);
    strayFrame.stray = undefined;
    this.#world.strayFrame = undefined;
  }

  /** As the end of a nested transaction is sent, a statement of another session may end. */
  assertNothingRunsElsewhere(): void {
    const { strayFrame } = this.#world;
    if (
      strayFrame !== undefined &&
      strayFrame.transaction !== this.current &&
      this.current.hasBegun
    ) {
      throw new Undetermined('whether a running statement has ended meanwhile');
    }
  }

  leaveRunning(text: string): void {
    const isInTrouble = this.isGone || this.top.failure !== undefined;
    if (isInTrouble || this.current.isAutocommit || this.#world.strayFrame !== undefined) {
      throw new Undetermined('a running statement besides another trouble');
    }
    this.#begin();
    this.current.hasWritten = true;
    this.top.stray = text;
    this.#world.strayFrame = this.top;
  }

  /** Leaves savepoints at work that nobody awaits. */
  abandon(): void {
    if (this.current.isAutocommit) {
      throw new Undetermined('a nested transaction inside of not_supported');
    }
    this.isAbandoned = true;
  }

  /** One statement. */
  insert(...texts: readonly string[]): void {
    const id = this.current.isAutocommit ? nextNumber() : this.current.id;
    this.#change((rows) => texts.forEach((text) => rows.set(text, id)));
  }

  replace(from: string, to: string): void {
    this.#change((rows) => {
      // The row stays that of the transaction which inserted it.
      rows.set(to, rows.get(from)!);
      rows.delete(from);
    });
  }

  remove(text: string): void {
    this.#change((rows) => rows.delete(text));
  }

  /** A constraint is looked at when the transaction of the statement ends. */
  orphan(): void {
    if (this.current.isAutocommit) {
      throw new ModelError(ORPHANED);
    }
    this.top.orphans++;
  }

  fail(state: SqlState): never {
    // Where nothing has begun, the next statement finds no failed transaction.
    if (this.current.hasBegun) {
      this.top.failure = state;
    }
    throw serverError(state);
  }

  flush(): void {
    const { top } = this;
    if (top.pending.length === 0) {
      return;
    }
    // MikroORM forgets them also when the flush fails.
    const texts = top.pending;
    top.pending = [];
    this.send();
    if (texts.includes(TAKEN)) {
      this.fail('23505');
    }
    this.insert(...texts);
  }

  /** The flush that belongs to an end: F4, a failed statement refuses the end, and is its cause. */
  flushForEnd(): void {
    this.assertNotFailed();
    this.flush();
  }

  /** F4: a failed statement that no savepoint undid is the cause. */
  assertNotFailed(): void {
    const { failure } = this.top;
    if (failure !== undefined) {
      throw rolledBackBy(failure);
    }
  }

  /** What forbids to keep what the innermost frame did. */
  assertKeepable(): void {
    if (this.top.stray !== undefined) {
      throw unawaited();
    }
    this.assertNotFailed();
  }

  /** COMMIT of the current transaction. The caller goes on with a new one, or with none. */
  commit(): void {
    const { current } = this;
    const { changes, orphans } = current.root;
    if (current.hasBegun) {
      this.database.open--;
    }
    current.hasBegun = false;
    if (orphans > 0) {
      current.root.state = 'undone';
      throw new ModelError(ORPHANED);
    }
    current.root.state = 'kept';
    changes.forEach((change) => change(this.database.rows));
  }

  /** ROLLBACK of the current transaction, with all savepoints that are open in it. */
  rollback(): void {
    const { current } = this;
    if (current.root.state !== 'open') {
      return;
    }
    if (current.hasBegun) {
      this.database.open--;
    }
    current.hasBegun = false;
    current.root.state = 'undone';
    if (this.#world.strayFrame?.transaction === current) {
      this.#world.strayFrame = undefined;
    }
  }

  /** Gets ready for the next transaction. */
  rearm(): void {
    this.transactions[this.transactions.length - 1] = new Transaction();
  }

  openSavepoint(): void {
    this.send();
    const { current } = this;
    current.frames.push(new Frame(current, current.top));
  }

  releaseSavepoint(): void {
    this.assertKeepable();
    this.assertNothingRunsElsewhere();
    const { changes, orphans } = this.top;
    this.top.state = 'kept';
    this.current.frames.pop();
    this.top.changes.push(...changes);
    this.top.orphans += orphans;
  }

  rollbackToSavepoint(): void {
    this.assertNothingRunsElsewhere();
    if (this.#world.strayFrame === this.top) {
      this.#world.strayFrame = undefined;
    }
    this.top.state = 'undone';
    this.current.frames.pop();
  }

  #change(change: Change): void {
    if (this.current.isAutocommit) {
      change(this.database.rows);
    } else {
      this.top.changes.push(change);
    }
  }

  #begin(): void {
    if (!this.current.hasBegun && !this.current.isAutocommit) {
      this.current.hasBegun = true;
      this.database.open++;
    }
  }
}
