import type {
  CompiledStatement,
  StatementConnection,
  StatementOptions,
  StatementResult,
} from './kysely-shapes.js';
import type { TransactionScope } from './scope.js';
import { canHaveCursor, toStatementResult } from './statement-result.js';

/**
 * What Kysely and MikroORM take for a database connection: hands each statement to a scope, which
 * may only now take a real one. Made anew for each statement, so that an abort hits no other.
 */
export class ScopedConnection implements StatementConnection {
  readonly #scope: TransactionScope;
  readonly #nextCursorId: () => number;
  #isRunning = false;

  constructor(scope: TransactionScope, nextCursorId: () => number) {
    this.#scope = scope;
    this.#nextCursorId = nextCursorId;
  }

  async executeQuery(
    { sql, parameters }: CompiledStatement,
    options?: StatementOptions,
  ): Promise<StatementResult> {
    try {
      return toStatementResult(
        await this.#scope.run(sql, parameters, () => {
          // It may have waited for its turn, a connection or a savepoint; its caller has the error.
          options?.signal?.throwIfAborted();
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
    options?: StatementOptions,
  ): AsyncIterableIterator<StatementResult> {
    if (!canHaveCursor(sql)) {
      yield await this.executeQuery({ sql, parameters }, options);
      return;
    }
    const cursor = `db_context_cursor_${this.#nextCursorId()}`;
    const assertNotAborted = (): void => options?.signal?.throwIfAborted();
    const declare = `declare ${cursor} no scroll cursor for ${sql}`;
    await this.#scope.run(declare, parameters, assertNotAborted);
    let finished = false;
    try {
      for (;;) {
        const chunk = toStatementResult(
          await this.#scope.run(`fetch forward ${chunkSize} from ${cursor}`, [], assertNotAborted),
        );
        if (chunk.rows.length > 0) {
          yield chunk;
        }
        if (chunk.rows.length < chunkSize) {
          break;
        }
      }
      finished = true;
    } finally {
      // After a failure there is no cursor any more: the transaction is aborted, or has ended.
      if (finished || (!this.#scope.isShut && this.#scope.lease.failure === undefined)) {
        await this.#scope.run(`close ${cursor}`);
      }
    }
  }

  async collectSessionInfo(): Promise<void> {}

  async cancelQuery(): Promise<void> {
    if (this.#isRunning) {
      this.#scope.lease.cancel();
    }
  }

  async killSession(): Promise<void> {
    if (this.#isRunning) {
      this.#scope.lease.kill(new Error('the session was killed by an aborted signal'));
    }
  }
}
