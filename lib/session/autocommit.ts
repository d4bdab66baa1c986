import type { DbConnection } from '../connection/db-connection.js';
import { placeOf, type Holder } from '../connection/claim.js';
import { Lease, type Answer } from '../connection/lease.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { InvalidTransactionStateError, SessionClosedError, type ErrorPlace } from '../errors.js';
import { requested } from '../telemetry/request-trace.js';
import { AutocommitClaim } from './autocommit-claim.js';
import { STREAM_CURSOR } from '../postgresql/session-state-text.js';
import { assertTakesCursor, readCursor } from './cursor.js';
import type {
  CompiledStatement,
  ExecuteOptions,
  StatementConnection,
  StatementResult,
} from './kysely-shapes.js';
import type { OwnedWork } from './owned-work.js';
import { toStatementResult } from './statement-result.js';

const ignore = (): void => undefined;

/**
 * Statements in no transaction: those of a callback with the propagation `not_supported`. Each has a
 * client of the pool for as long as it runs, and all end with the unit of work (W3).
 */
export class Autocommit implements OwnedWork {
  readonly #connection: DbConnection;
  readonly #holder: Holder | undefined;
  readonly #leases = new Set<Lease>();
  /** Called as it is shut, for those that wait for a connection. */
  readonly #onShut = new Set<() => void>();
  #isShut = false;
  #onIdle: (() => void) | undefined;

  constructor(connection: DbConnection, holder: Holder | undefined) {
    this.#connection = connection;
    this.#holder = holder;
  }

  /** Where its errors happen. */
  get place(): ErrorPlace {
    return placeOf(this.#connection.name, this.#holder);
  }

  /** Refuses later statements: its callback has returned. */
  shut(): void {
    this.#isShut = true;
    this.#onShut.forEach((leave) => leave());
    this.#onShut.clear();
  }

  /** See {@link OwnedWork.isOver}. */
  isOver(): boolean {
    return this.#isShut && this.#leases.size === 0;
  }

  /** See {@link OwnedWork.end}: waits for the statements in flight, and then cancels them. */
  async end(): Promise<void> {
    this.shut();
    if (this.#leases.size > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      if ((await withinLimit(idle, this.#connection.limits.drainTimeoutMs)) === TIMED_OUT) {
        await Promise.all([...this.#leases].map((lease) => lease.destroy()));
      }
    }
  }

  /** Runs `work` with a connection that is taken for it, and given back after it. */
  async withConnection<T>(work: (connection: StatementConnection) => Promise<T>): Promise<T> {
    this.#assertOpen();
    const claim = new AutocommitClaim(this.#connection, this.#holder, (leave) =>
      this.#whenShut(() => leave(this.#refusal())),
    );
    const client = await this.#connection.checkOut(claim);
    const lease = new Lease(client, ignore, this.#connection.sessionReset, claim);
    claim.got(lease);
    this.#leases.add(lease);
    try {
      return await work(new AutocommitConnection(this, claim, lease));
    } finally {
      this.#leases.delete(lease);
      lease.giveBack();
      if (this.#leases.size === 0) {
        this.#onIdle?.();
      }
    }
  }

  /**
   * Sends a statement on a connection that was taken for it.
   *
   * @throws {@link InvalidTransactionStateError} it has begun a transaction, which nobody could end
   */
  async send(
    claim: AutocommitClaim,
    lease: Lease,
    { sql, parameters }: CompiledStatement,
    options: ExecuteOptions | undefined,
  ): Promise<Answer> {
    this.#assertOpen();
    options?.signal?.throwIfAborted();
    const request = requested(claim, sql);
    let answer: Answer;
    try {
      answer = await lease.query(sql, parameters, 'statement', request);
    } catch (error) {
      this.#connection.onFailure(error, lease.client, false);
      throw error;
    }
    if (lease.status === 'T') {
      // The client is destroyed as it is given back, and with it what was begun.
      throw new InvalidTransactionStateError(
        this.place,
        'a plain BEGIN was sent in no transaction, and what it began was undone at once: the next ' +
          'statement has another connection. Use transactional() with propagation "requires_new".',
      );
    }
    return answer;
  }

  /** Calls `listener` as it is shut; soon, where it is shut. @returns a function that forgets it */
  #whenShut(listener: () => void): () => void {
    if (this.#isShut) {
      queueMicrotask(listener);
    } else {
      this.#onShut.add(listener);
    }
    return () => void this.#onShut.delete(listener);
  }

  /** @throws {@link SessionClosedError} its callback has returned, or its context has ended */
  #assertOpen(): void {
    if (this.#isShut) {
      throw this.#refusal();
    }
  }

  #refusal(): SessionClosedError {
    const error = new SessionClosedError(this.place, undefined, {
      because: this.#holder?.endCause,
    });
    this.#holder?.refused?.(error);
    return error;
  }
}

/** What Kysely takes for a connection, for one statement or one stream. */
class AutocommitConnection implements StatementConnection {
  readonly #work: Autocommit;
  readonly #claim: AutocommitClaim;
  readonly #lease: Lease;

  constructor(work: Autocommit, claim: AutocommitClaim, lease: Lease) {
    this.#work = work;
    this.#claim = claim;
    this.#lease = lease;
  }

  async executeQuery(
    statement: CompiledStatement,
    options?: ExecuteOptions,
  ): Promise<StatementResult> {
    return toStatementResult(await this.#work.send(this.#claim, this.#lease, statement, options));
  }

  /** As in a transaction, through a cursor of the server, which has to be one WITH HOLD here. */
  async *streamQuery(
    statement: CompiledStatement,
    chunkSize: number,
    options?: ExecuteOptions,
  ): AsyncIterableIterator<StatementResult> {
    const run = (sql: string, parameters: readonly unknown[] = []): Promise<StatementResult> =>
      this.executeQuery({ sql, parameters }, options);
    assertTakesCursor(this.#work.place, statement.sql, true);
    const cursor = STREAM_CURSOR;
    const { sql, parameters } = statement;
    await run(`declare ${cursor} no scroll cursor with hold for ${sql}`, parameters);
    let isRead = false;
    try {
      yield* readCursor(cursor, chunkSize, run);
      await run(`close ${cursor}`);
      isRead = true;
    } finally {
      if (!isRead) {
        // Nothing of the cursor may stay for the next borrower of the client.
        await this.#lease.destroy();
      }
    }
  }

  async collectSessionInfo(): Promise<void> {}

  async cancelQuery(): Promise<void> {
    await this.#lease.destroy();
  }

  async killSession(): Promise<void> {
    await this.#lease.destroy();
  }
}
