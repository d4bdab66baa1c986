import {
  HostDrainTimeoutError,
  InvalidTransactionStateError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { endsConnection, isServerError } from '../postgresql/server-errors.js';

/** What has gone wrong in one transaction, and what has to be said of it (F4). */
export class LeaseFaults {
  readonly #connectionName: string;
  /** The first failed statement that no savepoint undid. */
  #failure: Error | undefined;
  /** Why no statement can be sent any more, whatever the server would say. */
  #doom: Error | undefined;
  /** Whether it could not begin: there never was a transaction to lose. */
  #couldNotBegin = false;

  constructor(connectionName: string) {
    this.#connectionName = connectionName;
  }

  /** Whether the connection is of no more use. */
  get isDoomed(): boolean {
    return this.#doom !== undefined;
  }

  /** Why no statement can succeed any more, as far as is known. */
  get first(): Error | undefined {
    return this.#doom ?? this.#failure;
  }

  /** Lets no statement through any more; the first reason stands. */
  doom(reason: Error): void {
    this.#doom ??= reason;
  }

  /** Of what kept it from beginning. */
  noteNoBegin(error: Error): void {
    if (this.#doom === undefined) {
      this.#doom = error;
      this.#couldNotBegin = true;
    }
  }

  /** The server has answered a statement; it may have undone a failure, or ended the transaction. */
  noteSuccess(client: PgClient, isShut: boolean): void {
    const status = client.getTransactionStatus();
    if (status === 'T') {
      this.#failure = undefined;
    } else if (status === 'I' && !isShut) {
      this.#doom ??= new InvalidTransactionStateError(
        this.#connectionName,
        'a plain COMMIT or ROLLBACK statement ended the transaction, so what it did stands. Use ' +
          'session.commit() or session.rollback() instead.',
      );
    }
  }

  /** @returns the error to be thrown */
  noteFailure(error: Error): Error {
    this.#failure ??= error;
    if (!isServerError(error) || endsConnection(error)) {
      this.#doom ??= error;
    }
    return this.told(error);
  }

  /** What a statement is to fail with, which the end of its transaction made fail. */
  told(error: Error): Error {
    return isTimeout(this.#doom) ? this.#doom : error;
  }

  /** @throws that the transaction took too long, which is told rather than that it is over */
  assertInTime(): void {
    if (isTimeout(this.#doom)) {
      throw this.#doom;
    }
  }

  /** @throws {@link TransactionAbortedError} */
  assertNotDoomed(): void {
    if (this.#doom !== undefined) {
      throw new TransactionAbortedError(this.#connectionName, this.#doom);
    }
  }

  /** Why it could not be committed as it is now. */
  get objection(): DbContextError | undefined {
    return this.objectionOfDoom ?? this.#objectionOfFailure();
  }

  /** Looked at anew each time: a connection can be lost after the gate was shut. */
  get objectionOfDoom(): DbContextError | undefined {
    const doom = this.#doom;
    if (doom === undefined || isTimeout(doom) || doom instanceof InvalidTransactionStateError) {
      return doom;
    }
    const reason = this.#couldNotBegin ? 'failed-statement' : 'connection-lost';
    return new UnexpectedRollbackError(this.#connectionName, reason, doom);
  }

  /** @param unfinished number of statements that nobody has awaited */
  objectionToCommit(unfinished: number): DbContextError | undefined {
    return unfinished > 0
      ? new UnexpectedRollbackError(this.#connectionName, 'unawaited-statements', this.#failure)
      : this.#objectionOfFailure();
  }

  #objectionOfFailure(): DbContextError | undefined {
    return this.#failure === undefined
      ? undefined
      : new UnexpectedRollbackError(this.#connectionName, 'failed-statement', this.#failure);
  }
}

/** Whether a transaction was ended because it took too long. */
function isTimeout(doom: unknown): doom is TransactionTimeoutError | HostDrainTimeoutError {
  return doom instanceof TransactionTimeoutError || doom instanceof HostDrainTimeoutError;
}
