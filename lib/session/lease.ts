import { AsyncLocalStorage } from 'node:async_hooks';

import {
  cancelBackend,
  destroyClient,
  isServerError,
  type PgClient,
  type PgResult,
} from '../connection/pg-client.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import {
  CommitOutcomeUnknownError,
  InvalidTransactionStateError,
  SessionClosedError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';

/** What a lease needs of its connection. */
export interface LeaseSource {
  readonly name: string;
  readonly limits: {
    readonly transactionTimeoutMs: number;
    readonly drainTimeoutMs: number;
    readonly endTimeoutMs: number;
  };
  checkOut(): Promise<PgClient>;
  /** Told of BEGIN, COMMIT and ROLLBACK, which MikroORM does not see, for its query log. */
  onStatement(sql: string, tookMs: number): void;
}

/** How a transaction begins. */
export interface LeaseBegin {
  /** The statement that begins it. */
  sql(): string;
  /** Told before a connection is taken; may run statements itself. */
  before(): Promise<void>;
  /** Told after BEGIN, before the statement that caused it; may run statements itself. */
  after(): Promise<void>;
}

/** Asked right before a statement is sent; refuses it by throwing. */
export type Gate = () => void;

const insideHooks = new AsyncLocalStorage<TransactionLease>();

/**
 * One transaction on one pooled connection, from the first statement to the verified end.
 *
 * What it keeps, and where:
 * - nothing is taken before the first statement, and BEGIN is sent once: `begin()` (L3, F5);
 * - statements go one at a time, each after a look at the gate: `#enqueue()` (F3);
 * - the gate shuts synchronously, before COMMIT or ROLLBACK: `shut()` (F3);
 * - COMMIT counts only when the server says `COMMIT`, and is tried once: `commit()` (F4, S6);
 * - the client goes back to the pool only when the server is outside a transaction, else it is
 *   destroyed, and always by one of the two: `#giveBack()` (F1, F2);
 * - every wait has a limit (F6).
 */
export class TransactionLease {
  readonly #source: LeaseSource;
  readonly #how: LeaseBegin;
  #ready: Promise<PgClient> | undefined;
  #begun: Promise<PgClient> | undefined;
  #client: PgClient | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #unfinished = 0;
  #isShut = false;
  #objection: DbContextError | undefined;
  #ended = false;
  /** The first failed statement that no savepoint undid. */
  #failure: Error | undefined;
  /** Why no statement can be sent any more, whatever the server would say. */
  #doom: Error | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(source: LeaseSource, how: LeaseBegin) {
    this.#source = source;
    this.#how = how;
  }

  get connectionName(): string {
    return this.#source.name;
  }

  /** Whether a connection was asked for, so that there is something to end. */
  get hasBegun(): boolean {
    return this.#ready !== undefined;
  }

  /** Whether the gate is shut. */
  get isShut(): boolean {
    return this.#isShut;
  }

  get failure(): Error | undefined {
    return this.#doom ?? this.#failure;
  }

  /**
   * Takes a connection and sends BEGIN; once, however many callers there are.
   *
   * @throws {@link AcquireTimeoutError}, {@link ConnectionFailedError} or the server's error
   */
  async begin(): Promise<PgClient> {
    this.#assertOpen();
    // Statements of the hooks would otherwise wait for the hooks.
    if (insideHooks.getStore() === this) {
      return this.#beginOnce();
    }
    this.#ready ??= insideHooks.run(this, () => this.#beginWithHooks());
    return this.#ready;
  }

  /** Sends one statement, after all for which this was called before. */
  async run(sql: string, values: readonly unknown[], gate: Gate): Promise<PgResult | PgResult[]> {
    const client = await this.begin();
    return this.#enqueue(() => {
      gate();
      return this.#send(client, sql, values);
    });
  }

  /**
   * Shuts the gate, synchronously: from here on no statement is sent but those that end the
   * transaction. May be asked again.
   *
   * @returns why this transaction cannot be committed, if it cannot
   */
  shut(): DbContextError | undefined {
    if (!this.#isShut) {
      this.#isShut = true;
      this.#objection = this.#objectionToCommit();
    }
    return this.#objectionOfDoom() ?? this.#objection;
  }

  /**
   * Shuts the gate, sends COMMIT and looks at the answer. One attempt: whatever comes of it, the
   * lease is over.
   *
   * @throws {@link UnexpectedRollbackError} a fault forbade the commit, or the server rolled back
   * @throws {@link TransactionTimeoutError} it had been open for too long
   * @throws {@link CommitOutcomeUnknownError} no answer came
   * @throws {@link SessionClosedError} it had ended before
   * @throws the server's own error, when it refused (a deferred constraint, 40001)
   */
  async commit(): Promise<void> {
    const objection = this.shut();
    if (objection !== undefined) {
      await this.rollback();
      throw objection;
    }
    if (this.#ended) {
      throw new SessionClosedError(this.connectionName);
    }
    const client = this.#end();
    if (client === undefined) {
      return;
    }
    const startedAt = Date.now();
    const { endTimeoutMs } = this.#source.limits;
    let answer: PgResult | PgResult[] | typeof TIMED_OUT;
    try {
      answer = await withinLimit(client.query('commit'), endTimeoutMs);
    } catch (error) {
      if (isServerError(error)) {
        // The server has rolled back. One more round trip makes sure of it, and keeps the client.
        await this.#rollBack(client);
        throw error;
      }
      destroyClient(client);
      throw new CommitOutcomeUnknownError(this.connectionName, error);
    }
    if (answer === TIMED_OUT) {
      destroyClient(client);
      throw new CommitOutcomeUnknownError(this.connectionName, answerMissing(endTimeoutMs));
    }
    this.#source.onStatement('commit', Date.now() - startedAt);
    this.#giveBack(client);
    if (Array.isArray(answer) || answer.command !== 'COMMIT') {
      throw new UnexpectedRollbackError(this.connectionName, 'server-rollback');
    }
  }

  /**
   * Ends the transaction without saving anything. Never throws: a connection on which ROLLBACK
   * fails is destroyed, and the server then rolls back by itself.
   */
  async rollback(): Promise<void> {
    this.shut();
    if (this.#client !== undefined && this.#doom === undefined) {
      const drained = await withinLimit(this.#queue, this.#source.limits.drainTimeoutMs);
      if (drained === TIMED_OUT) {
        this.kill(new SessionClosedError(this.connectionName));
      }
    }
    const client = this.#end();
    if (client !== undefined) {
      await this.#rollBack(client);
    }
  }

  /**
   * Gives up on the connection at once: cancels what the server is running and destroys the
   * client. Statements in flight fail; later ones and a commit are refused with `reason`.
   */
  kill(reason: Error): void {
    this.#doom ??= reason;
    this.shut();
    const client = this.#end();
    if (client !== undefined) {
      cancelBackend(client);
      destroyClient(client);
    }
  }

  /** Cancels the statement in flight; it fails with the server's error 57014. */
  cancel(): void {
    if (this.#client !== undefined) {
      cancelBackend(this.#client);
    }
  }

  async #beginWithHooks(): Promise<PgClient> {
    try {
      await this.#how.before();
      const client = await this.#beginOnce();
      await this.#how.after();
      return client;
    } catch (error) {
      this.#doom ??= error as Error;
      throw error;
    }
  }

  #beginOnce(): Promise<PgClient> {
    this.#begun ??= this.#enqueue(() => this.#begin());
    return this.#begun;
  }

  async #begin(): Promise<PgClient> {
    try {
      const client = await this.#source.checkOut();
      if (this.#isShut) {
        client.release();
        throw new SessionClosedError(this.connectionName);
      }
      this.#client = client;
      client.on('error', this.#onClientError);
      const { transactionTimeoutMs } = this.#source.limits;
      this.#deadline = setTimeout(() => {
        this.kill(new TransactionTimeoutError(this.connectionName, transactionTimeoutMs));
      }, transactionTimeoutMs);
      this.#deadline.unref();
      const startedAt = Date.now();
      const sql = this.#how.sql();
      await this.#send(client, sql, []);
      this.#source.onStatement(sql, Date.now() - startedAt);
      return client;
    } catch (error) {
      this.#doom ??= error as Error;
      throw error;
    }
  }

  /** One at a time, in the order of the calls: `pg` 9 takes no overlapping queries on one client. */
  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    this.#unfinished++;
    const result = this.#queue
      .then(() => {
        this.#assertOpen();
        return task();
      })
      .finally(() => this.#unfinished--);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #send(
    client: PgClient,
    sql: string,
    values: readonly unknown[],
  ): Promise<PgResult | PgResult[]> {
    try {
      const result = await (values.length === 0 ? client.query(sql) : client.query(sql, values));
      const status = client.getTransactionStatus();
      if (status === 'T') {
        this.#failure = undefined;
      } else if (status === 'I' && !this.#isShut) {
        this.#doom ??= new InvalidTransactionStateError(
          this.connectionName,
          'a plain COMMIT or ROLLBACK statement ended the transaction, so what it did stands. Use ' +
            'session.commit() or session.rollback() instead.',
        );
      }
      return result;
    } catch (error) {
      this.#failure ??= error as Error;
      if (!isServerError(error)) {
        this.#doom ??= error as Error;
      }
      throw this.#doom instanceof TransactionTimeoutError ? this.#doom : error;
    }
  }

  #assertOpen(): void {
    if (this.#doom instanceof TransactionTimeoutError) {
      throw this.#doom;
    }
    if (this.#isShut) {
      throw new SessionClosedError(this.connectionName);
    }
    if (this.#doom !== undefined) {
      throw new TransactionAbortedError(this.connectionName, this.#doom);
    }
  }

  #objectionToCommit(): DbContextError | undefined {
    if (this.#unfinished > 0) {
      return new UnexpectedRollbackError(
        this.connectionName,
        'unawaited-statements',
        this.#failure,
      );
    }
    return this.#failure === undefined
      ? undefined
      : new UnexpectedRollbackError(this.connectionName, 'failed-statement', this.#failure);
  }

  /** Looked at anew each time: a connection can be lost after the gate was shut. */
  #objectionOfDoom(): DbContextError | undefined {
    const doom = this.#doom;
    return doom === undefined ||
      doom instanceof TransactionTimeoutError ||
      doom instanceof InvalidTransactionStateError
      ? doom
      : new UnexpectedRollbackError(this.connectionName, 'connection-lost', doom);
  }

  /** Hands the client to whoever ends the transaction, exactly once. */
  #end(): PgClient | undefined {
    if (this.#ended) {
      return undefined;
    }
    this.#ended = true;
    clearTimeout(this.#deadline);
    const client = this.#client;
    this.#client = undefined;
    return client;
  }

  async #rollBack(client: PgClient): Promise<void> {
    if (this.#doom === undefined) {
      const startedAt = Date.now();
      try {
        const { endTimeoutMs } = this.#source.limits;
        const answer = await withinLimit(client.query('rollback'), endTimeoutMs);
        if (answer !== TIMED_OUT) {
          this.#source.onStatement('rollback', Date.now() - startedAt);
          this.#giveBack(client);
          return;
        }
      } catch {
        // Whatever made ROLLBACK fail, the server rolls back when the connection goes.
      }
    }
    cancelBackend(client);
    destroyClient(client);
  }

  #giveBack(client: PgClient): void {
    if (client.getTransactionStatus() === 'I') {
      client.off('error', this.#onClientError);
      client.release();
    } else {
      destroyClient(client);
    }
  }

  readonly #onClientError = (error: Error): void => {
    this.#doom ??= error;
  };
}

function answerMissing(limitMs: number): Error {
  return new Error(`no answer within ${limitMs} ms`);
}
