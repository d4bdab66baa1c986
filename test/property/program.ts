/** The two connections, each to a database of its own. */
export const DATABASES = ['default', 'other'] as const;
export type Database = (typeof DATABASES)[number];

export const ATOMIC_MODES = ['commit', 'rollback', 'append', 'raise', 'savepoint'] as const;
type AtomicMode = (typeof ATOMIC_MODES)[number];

export type HookKind = 'beforeCommit' | 'onCommit' | 'onRollback';
type EndVerb = 'commit' | 'rollback' | 'close';

/** Something that one line of a service would do with a session. */
export type Statement =
  | 'insert'
  | 'update'
  | 'delete'
  | 'persist'
  /** A persisted entity that breaks a unique constraint when it is flushed. */
  | 'persistTaken'
  | 'flush'
  /** A query through the unit of work, which flushes what is pending. */
  | 'find'
  /** Reads all rows, and writes down what it saw. */
  | 'read'
  /** An insert that breaks a unique constraint at once. */
  | 'duplicate'
  /** A statement that the server refuses. */
  | 'divide'
  /** An insert that breaks a constraint at COMMIT. */
  | 'orphan';

export type Step =
  | { readonly kind: 'statement'; readonly statement: Statement; readonly db: Database }
  /** An insert that is running while the code goes on. */
  | { readonly kind: 'stray'; readonly db: Database }
  /** An insert that starts when the block which it is in, a context or a savepoint, has ended. */
  | { readonly kind: 'late'; readonly db: Database }
  /** Savepoints that nobody awaits, and a throw. */
  | { readonly kind: 'abandon'; readonly db: Database; readonly branches: number }
  | { readonly kind: 'throw' }
  /** Writes down how many connections are checked out. */
  | { readonly kind: 'pool' }
  | {
      readonly kind: 'end';
      readonly verb: EndVerb;
      readonly target: Database | 'all';
      /** By the session itself, where it has that method, rather than by `DbContext`. */
      readonly bySession: boolean;
    }
  /** A block whose error is caught. */
  | { readonly kind: 'attempt'; readonly body: Program }
  | {
      readonly kind: 'savepoint';
      readonly db: Database;
      readonly propagation: 'nested' | 'required' | 'requires_new' | 'not_supported';
      /** The block uses the entity manager that it is given, rather than the injected one. */
      readonly own: boolean;
      readonly body: Program;
    }
  | {
      readonly kind: 'atomic';
      readonly db: Database;
      readonly mode: AtomicMode;
      readonly own: boolean;
      readonly body: Program;
    }
  | { readonly kind: 'newContext'; readonly body: Program }
  | { readonly kind: 'join'; readonly body: Program }
  | {
      readonly kind: 'newSession';
      readonly db: Database;
      readonly commits: boolean;
      readonly body: Program;
    }
  | {
      readonly kind: 'hook';
      readonly hook: HookKind;
      /** Bound to the transaction of this connection, rather than to the context. */
      readonly bound: Database | undefined;
      readonly body: Program;
    }
  /** Waits for all; throws what the first of the failed branches threw. */
  | { readonly kind: 'parallel'; readonly branches: readonly Program[] };

/** A step with its number, which the rows that it writes carry. */
export type Op = Step & { readonly id: number };

export type Program = readonly Op[];

/** What happened, in order; a nested list is what the branches of a `parallel` did, by branch. */
export type Trace = (string | readonly Trace[])[];

/** A row, and which rows were written by the same transaction as it. */
export interface Row {
  readonly text: string;
  readonly transaction: string | number;
}

/** What a program came to: in the model, and in truth. */
export interface Outcome {
  /** `ok`, or the error that the context as a whole threw. */
  readonly result: string;
  readonly trace: Trace;
  readonly rows: Readonly<Record<Database, readonly Row[]>>;
  /** How often the application's own `beforeCommit` was called. */
  readonly beforeCommits: Readonly<Record<Database, number>>;
}

export function perDatabase<T>(create: (db: Database) => T): Record<Database, T> {
  return { default: create('default'), other: create('other') };
}

/** A row that is there before the program starts, and that it cannot insert again. */
export const TAKEN = 'taken';

/** The row that an update or a delete of this number is about; there before the program starts. */
export const seedOf = ({ id }: Op): string => `s${id}`;

/** Numbers all steps in the order of their lines. */
export function numbered(program: Program): Program {
  let last = 0;
  const each = (ops: Program): Program =>
    ops.map((op) => {
      const id = ++last;
      if (op.kind === 'parallel') {
        return { ...op, id, branches: op.branches.map(each) };
      }
      return 'body' in op ? { ...op, id, body: each(op.body) } : { ...op, id };
    });
  return each(program);
}

/** All steps, at any depth. */
function flattened(program: Program): Op[] {
  return program.flatMap((op) => {
    const bodies = op.kind === 'parallel' ? op.branches : 'body' in op ? [op.body] : [];
    return [op, ...bodies.flatMap(flattened)];
  });
}

/** The rows that have to be in a database before the program starts. */
export function seedsOf(program: Program, db: Database): string[] {
  const isSeeded = (op: Op): boolean =>
    op.kind === 'statement' &&
    op.db === db &&
    (op.statement === 'update' || op.statement === 'delete');
  return [TAKEN, ...flattened(program).filter(isSeeded).map(seedOf)];
}
