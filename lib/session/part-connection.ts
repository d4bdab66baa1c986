import { SessionClosedError } from '../errors.js';
import type { TransactionPart } from '../transaction/savepoint.js';
import { assertTakesCursor, readCursor } from './cursor.js';
import type {
  CompiledStatement,
  ExecuteOptions,
  StatementConnection,
  StatementResult,
} from './kysely-shapes.js';
import { toStatementResult } from './statement-result.js';

/**
 * What Kysely and MikroORM take for a database connection: hands each statement to a part of a
 * transaction, which may only now take a real one. Made anew for each statement, so that an abort
 * hits no other.
 */
export class PartConnection implements StatementConnection {
  readonly #part: TransactionPart;
  readonly #nextCursorId: () => number;
  #isRunning = false;

  constructor(part: TransactionPart, nextCursorId: () => number) {
    this.#part = part;
    this.#nextCursorId = nextCursorId;
  }

  async executeQuery(
    { sql, parameters }: CompiledStatement,
    options?: ExecuteOptions,
  ): Promise<StatementResult> {
    const signal = options?.signal;
    if (signal === undefined) {
      return toStatementResult(await this.#part.run(sql, parameters));
    }
    try {
      return toStatementResult(
        await this.#part.run(sql, parameters, () => {
          // The statement may have waited for its turn, or for a connection, since Kysely asked.
          signal.throwIfAborted();
          this.#isRunning = true;
        }),
      );
    } finally {
      this.#isRunning = false;
    }
  }

  /**
   * Streams through a cursor of the server (DECLARE, FETCH), so that other statements of the same
   * transaction can run between two chunks; with `pg-cursor` they would wait for the stream for
   * ever. See https://www.postgresql.org/docs/current/sql-declare.html
   */
  async *streamQuery(
    { sql, parameters }: CompiledStatement,
    chunkSize: number,
    options?: ExecuteOptions,
  ): AsyncIterableIterator<StatementResult> {
    assertTakesCursor(this.#part.place, sql, false);
    const assertWanted = (): void => options?.signal?.throwIfAborted();
    const part = this.#part;
    const cursor = `db_context_cursor_${this.#nextCursorId()}`;
    await part.run(`declare ${cursor} no scroll cursor for ${sql}`, parameters, assertWanted);
    try {
      yield* readCursor(cursor, chunkSize, async (fetch) => {
        this.#assertNotCutOff();
        return toStatementResult(await part.run(fetch, [], assertWanted));
      });
    } finally {
      // After a failure there is no cursor any more: the transaction is aborted, or has ended.
      if (!part.isShut && part.whole.failure === undefined) {
        await part.run(`close ${cursor}`);
      }
    }
  }

  /** @throws {@link SessionClosedError} the transaction was ended on purpose while the stream was read */
  #assertNotCutOff(): void {
    const { outcome } = this.#part.root;
    if (outcome === 'committed' || outcome === 'rolled-back') {
      throw new SessionClosedError(
        this.#part.place,
        outcome === 'committed' ? 'commit()' : 'rollback()',
      );
    }
  }

  async collectSessionInfo(): Promise<void> {}

  async cancelQuery(): Promise<void> {
    if (this.#isRunning) {
      this.#part.whole.cancel();
    }
  }

  async killSession(): Promise<void> {
    if (this.#isRunning) {
      this.#part.whole.kill(new Error('the session was killed by an aborted signal'));
    }
  }
}
