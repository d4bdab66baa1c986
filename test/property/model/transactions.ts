import type { Database } from '../program.js';
import type { SqlState } from './failures.js';

type Rows = Map<string, number>;
export type Change = (rows: Rows) => void;

/** A database as others see it: committed rows, each with the transaction that wrote it. */
export class ModelDatabase {
  readonly name: Database;
  readonly rows: Rows;
  /** Transactions that have begun and not ended. */
  open = 0;
  beforeCommits = 0;

  constructor(name: Database, seeds: readonly string[]) {
    this.name = name;
    this.rows = new Map(seeds.map((seed) => [seed, 0]));
  }
}

/** A whole transaction, or what came after a savepoint of it. */
export class Frame {
  readonly transaction: Transaction;
  readonly parent: Frame | undefined;
  state: 'open' | 'kept' | 'undone' = 'open';
  changes: Change[] = [];
  /** Inserts that break a constraint at COMMIT. */
  orphans = 0;
  /** Texts of entities that were persisted and not flushed. */
  pending: string[] = [];
  /** The first failure: the server refuses what comes after it. */
  failure: SqlState | undefined;
  /** An insert that nobody awaits and that is still running. */
  stray: string | undefined;

  constructor(transaction: Transaction, parent?: Frame) {
    this.transaction = transaction;
    this.parent = parent;
  }

  get isUndone(): boolean {
    return this.state === 'undone' || this.parent?.isUndone === true;
  }

  /** Whether a nested transaction was undone, rather than that of the session with its end. */
  get isUndoneNested(): boolean {
    const isNested = this.parent !== undefined || this.transaction.kind !== 'session';
    return (isNested && this.state === 'undone') || this.parent?.isUndoneNested === true;
  }
}

let lastTransaction = 0;

export const nextNumber = (): number => ++lastTransaction;

/** The transaction of a session, or what a `propagation` puts on top; `not_supported` begins none. */
type TransactionKind = 'session' | 'requires_new' | 'not_supported';

export class Transaction {
  readonly id = nextNumber();
  readonly kind: TransactionKind;
  /** Whether a statement was sent, so that it holds a connection. */
  hasBegun = false;
  /** Whether another statement than a plain read was sent, so that its commit may save something. */
  hasWritten = false;
  readonly frames: Frame[] = [new Frame(this)];

  constructor(kind: TransactionKind = 'session') {
    this.kind = kind;
  }

  get isAutocommit(): boolean {
    return this.kind === 'not_supported';
  }

  get root(): Frame {
    return this.frames[0]!;
  }

  get top(): Frame {
    return this.frames.at(-1)!;
  }
}
