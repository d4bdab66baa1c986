import type {
  AcquireEvent,
  ErrorInfo,
  StatementEvent,
  TransactionEndEvent,
  TransactionInfo,
} from '../telemetry/index.js';

const SQLSTATE = /^[0-9A-Z]{5}$/;
/** A code of this library, of Node or of a driver. */
const CODE = /^[A-Z][A-Z0-9_]{5,40}$/;

/** Why something has failed, in words that hold no value of a statement. */
export interface Failure {
  /** `40001`, `ACQUIRE_TIMEOUT`, or the name of the error's class. */
  readonly type: string;
  /** The SQLSTATE of the server, where it is one. */
  readonly sqlState: string | undefined;
}

/** The error that stands for a statement that has failed, and whose own error was swallowed. */
const STANDS_FOR_A_STATEMENT = 'UNEXPECTED_ROLLBACK';
/** What the server refuses all further statements with. */
const IS_ABORTED = '25P02';

/** What `error.type` is of a failure: the same in spans and in metrics. */
export function errorTypeOf({ type, sqlState }: Failure): string {
  return sqlState ?? type;
}

/** What may be said of an error. */
export function failureOf({ code, name }: ErrorInfo): Failure {
  const sqlState = code !== undefined && SQLSTATE.test(code) ? code : undefined;
  return { type: code !== undefined && (sqlState ?? CODE.test(code)) ? code : name, sqlState };
}

/** Why a wait got no connection, where that is an error: a client that has left is none. */
export function errorOfWait({
  error,
  endedBy,
}: Pick<AcquireEvent, 'error' | 'endedBy'>): ErrorInfo | undefined {
  return endedBy === undefined || endedBy.code === error?.code ? error : undefined;
}

/**
 * The statements of transactions that have failed. An error of this library stands for them at the end of
 * the transaction, and does not name the SQLSTATE that it is about.
 */
export class FailedStatements {
  readonly #failures = new WeakMap<TransactionInfo, Failure>();

  /** A statement is over. */
  ended({ transaction, error, hasRun }: StatementEvent): void {
    if (transaction === undefined || error === undefined || !hasRun) {
      return;
    }
    const isFirst = error.code !== IS_ABORTED || !this.#failures.has(transaction);
    if (isFirst) {
      this.#failures.set(transaction, failureOf(error));
    }
  }

  /** What has failed since a savepoint is undone. */
  undone(transaction: TransactionInfo): void {
    this.#failures.delete(transaction);
  }

  /** Why a transaction is not committed; `undefined` where it is, and where no error is the reason. */
  reasonOf({ transaction, error, outcome }: TransactionEndEvent): Failure | undefined {
    if (outcome === 'committed' || error === undefined) {
      return undefined;
    }
    const failure = failureOf(error);
    return failure.type === STANDS_FOR_A_STATEMENT
      ? { ...failure, sqlState: this.#failures.get(transaction)?.sqlState }
      : failure;
  }
}
