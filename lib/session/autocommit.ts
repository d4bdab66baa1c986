import type { DbConnection } from '../connection/db-connection.js';
import type { PgClient, PgResult } from '../connection/pg-client.js';
import type { Claim, Holder } from '../connection/pool-claims.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { SessionClosedError } from '../errors.js';
import type { ContextPart } from './context-part.js';
import type {
  CompiledStatement,
  StatementConnection,
  StatementOptions,
  StatementResult,
} from './kysely-shapes.js';
import { canHaveCursor, toStatementResult } from './statement-result.js';
import { abandon, giveBack } from './transaction-end.js';

const ignore = (): void => undefined;

/**
 * Statements that are in no transaction: those of a callback with the propagation `not_supported`.
 * Each has a client of the pool for as long as it runs.
 */
export class Autocommit implements ContextPart {
  readonly #connection: DbConnection;
  readonly #holder: Holder | undefined;
  /** The clients that statements run on. */
  readonly #inUse = new Set<PgClient>();
  #isShut = false;
  /** Called when no statement runs any more. */
  #onIdle: (() => void) | undefined;

  constructor(connection: DbConnection, holder: Holder | undefined) {
    this.#connection = connection;
    this.#holder = holder;
  }

  get connectionName(): string {
    return this.#connection.name;
  }

  get connection(): DbConnection {
    return this.#connection;
  }

  shut(): void {
    this.#isShut = true;
  }

  async rollback(): Promise<void> {
    this.shut();
    if (this.#inUse.size === 0) {
      return;
    }
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    if ((await withinLimit(idle, this.#connection.limits.drainTimeoutMs)) === TIMED_OUT) {
      await Promise.all([...this.#inUse].map((client) => this.giveUp(client)));
    }
  }

  /** @throws {@link SessionClosedError} its callback has returned, or its context has ended */
  assertOpen(): void {
    if (this.#isShut) {
      throw new SessionClosedError(this.connectionName);
    }
  }

  /** Runs `work` with a connection that is taken for it, and given back after it. */
  async withConnection<T>(work: (connection: StatementConnection) => Promise<T>): Promise<T> {
    this.assertOpen();
    let client: PgClient | undefined;
    const claim: Claim = {
      holder: this.#holder,
      isBusy: true,
      kill: () => void (client && this.giveUp(client)),
    };
    client = await this.#connection.checkOut(claim);
    this.#inUse.add(client);
    client.on('error', ignore);
    try {
      return await work(new AutocommitConnection(this, client));
    } finally {
      if (this.#stopUsing(client)) {
        giveBack(client, true);
        client.off('error', ignore);
      }
    }
  }

  /** Destroys a client, and cancels what the server is running for it. */
  async giveUp(client: PgClient): Promise<void> {
    if (this.#stopUsing(client)) {
      await abandon(client);
    }
  }

  /** @returns whether the client is for the caller to give back or to destroy */
  #stopUsing(client: PgClient): boolean {
    const isFirst = this.#inUse.delete(client);
    if (this.#inUse.size === 0) {
      this.#onIdle?.();
    }
    return isFirst;
  }
}

/** What Kysely takes for a connection, for one statement or one stream. */
class AutocommitConnection implements StatementConnection {
  readonly #work: Autocommit;
  readonly #client: PgClient;
  #isRunning = false;

  constructor(work: Autocommit, client: PgClient) {
    this.#work = work;
    this.#client = client;
  }

  async executeQuery(
    { sql, parameters }: CompiledStatement,
    options?: StatementOptions,
  ): Promise<StatementResult> {
    return toStatementResult(await this.#send(sql, parameters, options));
  }

  /** As in a transaction, through a cursor of the server, which has to be one WITH HOLD here. */
  async *streamQuery(
    { sql, parameters }: CompiledStatement,
    chunkSize: number,
    options?: StatementOptions,
  ): AsyncIterableIterator<StatementResult> {
    if (!canHaveCursor(sql)) {
      yield await this.executeQuery({ sql, parameters }, options);
      return;
    }
    const cursor = 'db_context_cursor';
    await this.#send(
      `declare ${cursor} no scroll cursor with hold for ${sql}`,
      parameters,
      options,
    );
    let isOpen = true;
    try {
      for (;;) {
        const fetch = `fetch forward ${chunkSize} from ${cursor}`;
        const chunk = toStatementResult(await this.#send(fetch, [], options));
        if (chunk.rows.length > 0) {
          yield chunk;
        }
        if (chunk.rows.length < chunkSize) {
          break;
        }
      }
      await this.#send(`close ${cursor}`, [], undefined);
      isOpen = false;
    } finally {
      if (isOpen) {
        // Nothing of it may stay for the next one who gets the client.
        await this.#work.giveUp(this.#client);
      }
    }
  }

  async collectSessionInfo(): Promise<void> {}

  async cancelQuery(): Promise<void> {
    await this.killSession();
  }

  async killSession(): Promise<void> {
    if (this.#isRunning) {
      await this.#work.giveUp(this.#client);
    }
  }

  async #send(
    sql: string,
    values: readonly unknown[],
    options: StatementOptions | undefined,
  ): Promise<PgResult | PgResult[]> {
    const { connection } = this.#work;
    this.#work.assertOpen();
    options?.signal?.throwIfAborted();
    connection.onSend(sql);
    this.#isRunning = true;
    try {
      return await (values.length === 0
        ? this.#client.query(sql)
        : this.#client.query(sql, values));
    } catch (error) {
      connection.onFailure(error, this.#client, false);
      throw error;
    } finally {
      this.#isRunning = false;
    }
  }
}
