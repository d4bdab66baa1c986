import type { Holder } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import type { PgClient, PgResult } from '../postgresql/pg-client.js';
import { SerialQueue } from '../transaction/serial-queue.js';
import { TestIsolationError } from './errors.js';
import { tapPool } from './pool-tap.js';
import { SharedClient } from './shared-client.js';
import { countWrites, deferredConstraints, SimulatedCommit } from './simulated-commit.js';

const WRITE_COMMANDS = /^(insert|update|delete|merge|copy|create|alter|drop|truncate)/i;

/** How long transactions of the application may take to end after their test, in milliseconds. */
const GRACE_MS = 1_000;

/** Connections whose transaction is shared now. */
const active = new WeakMap<DbConnection, SharedTransaction | undefined>();

/** What the transaction of a connection is shared with now. */
export function sharedTransactionOf(connection: DbConnection): SharedTransaction | undefined {
  return active.get(connection);
}

/** A transaction of the application: a savepoint of the shared one. */
interface Level {
  readonly client: SharedClient;
  readonly savepoint: string;
  readonly commit: SimulatedCommit;
  /** Of the whole shared transaction as it began; only looked at inside of another one. */
  readonly writesBefore: bigint | undefined;
  /** Whether something that must outlive it lies inside of it. */
  holdsCommitted: boolean;
}

/**
 * One real transaction of one connection, in which all transactions of the application and of the
 * test are savepoints. Savepoints are a stack: one is open inside of another only where its unit of
 * work is, and all others take turns.
 *
 * What cannot be shown truly is refused: a rollback to a savepoint would also undo what an inner
 * unit of work had committed for good.
 */
export class SharedTransaction {
  readonly connection: DbConnection;
  /** Marks the test's own session, inside of which everything else runs. */
  readonly testHolder: Holder = { outer: undefined };
  readonly #client: PgClient;
  readonly #deferred: string | undefined;
  readonly #levels: Level[] = [];
  readonly #queue = new SerialQueue();
  readonly #undo: (() => void)[] = [];
  /** Of all parts; the real client would warn of so many. */
  readonly errorListeners = new Set<(error: Error) => void>();
  #changed = Promise.withResolvers<void>();
  #savepoints = 0;
  /** Why no statement is sent any more: what it would show is not true. */
  #refused: TestIsolationError | undefined;

  private constructor(connection: DbConnection, client: PgClient, deferred: string | undefined) {
    this.connection = connection;
    this.#client = client;
    this.#deferred = deferred;
  }

  /**
   * Takes a connection and begins; from here on everybody who asks the pool gets a part of this.
   *
   * @throws {@link AcquireTimeoutError}, {@link ConnectionFailedError}
   */
  static async begin(connection: DbConnection): Promise<SharedTransaction> {
    if (active.has(connection)) {
      throw new TestIsolationError(
        connection.name,
        'one has begun already and not ended. Tests that share a transaction run one after another.',
      );
    }
    active.set(connection, undefined);
    let client: PgClient | undefined;
    try {
      client = await connection.checkOut({ holder: undefined, isBusy: true });
      await client.query('begin');
      const shared = new SharedTransaction(connection, client, await deferredConstraints(client));
      active.set(connection, shared);
      client.on('error', shared.#onError);
      shared.#undo.push(
        () => client?.off('error', shared.#onError),
        tapPool(await connection.pool(), () => new SharedClient(shared, undefined)),
        connection.replaceClients(({ holder }) =>
          Promise.resolve(new SharedClient(shared, holder)),
        ),
      );
      return shared;
    } catch (error) {
      active.delete(connection);
      client?.release(true);
      throw error;
    }
  }

  /** The real client, for what a part of it has to know of its connection. */
  get realClient(): PgClient {
    return this.#client;
  }

  /** Number of transactions that are open, the test's own one aside. */
  get openTransactions(): number {
    return this.#levels.filter(({ client }) => client.holder !== this.testHolder).length;
  }

  /**
   * Ends it, and undoes everything. Transactions of the application get a moment to end by
   * themselves: some responses leave before the commit.
   *
   * @throws {@link TestIsolationError} one is still open
   */
  async end(): Promise<void> {
    const deadline = performance.now() + GRACE_MS;
    for (let left = GRACE_MS; left > 0 && this.openTransactions > 0;) {
      await withinLimit(this.#changed.promise, left);
      left = deadline - performance.now();
    }
    const left = this.openTransactions;
    active.delete(this.connection);
    this.#undo.toReversed().forEach((undo) => undo());
    this.#refused = this.refusal('it has ended, and this statement came later.');
    const rolledBack = await withinLimit(
      this.#queue.run(() => this.#client.query('rollback')).catch(() => undefined),
      this.connection.limits.endTimeoutMs,
    );
    const isClean = rolledBack !== TIMED_OUT && this.#client.getTransactionStatus() === 'I';
    this.#client.release(!isClean);
    if (left > 0) {
      throw this.refusal(
        `${left} transaction(s) of the application were still open when the test ended. Await the ` +
          'request or the call that opened them.',
      );
    }
  }

  /** An error that says what cannot be done. */
  refusal(reason: string): TestIsolationError {
    return new TestIsolationError(this.connection.name, reason);
  }

  /** Begins a part. */
  async open(client: SharedClient, isReadOnly: boolean): Promise<void> {
    await this.#inTurn(
      () => this.#mayOpen(client),
      async () => {
        const outer = this.#levels.at(-1);
        const isNested = outer !== undefined && !this.#isTest(outer);
        const writesBefore = isNested ? await countWrites(this.#client) : undefined;
        const savepoint = `db_context_test_${++this.#savepoints}`;
        await this.#client.query(
          `savepoint ${savepoint}${isReadOnly ? '; set transaction read only' : ''}`,
        );
        const commit = new SimulatedCommit(this.#client, this.#deferred);
        this.#levels.push({ client, savepoint, commit, writesBefore, holdsCommitted: false });
      },
    );
  }

  /** Sends a statement of a part that is open, or of the test itself. */
  async send(
    client: SharedClient,
    sql: string,
    values: readonly unknown[],
    query: () => Promise<PgResult | PgResult[]>,
  ): Promise<PgResult | PgResult[]> {
    const isTest = client.holder === this.testHolder;
    return this.#inTurn(
      () => isTest || this.#levels.at(-1)?.client === client,
      async () => {
        await this.#levelOf(client)?.commit.remember(sql, values);
        const result = await query();
        if (isTest && WRITE_COMMANDS.test(commandOf(result))) {
          // Undone with whatever is open above it.
          this.#levels.forEach((level) => {
            level.holdsCommitted ||= !this.#isTest(level);
          });
        }
        return result;
      },
    );
  }

  /** Sends a statement that commits by itself. */
  async sendAlone(query: () => Promise<PgResult | PgResult[]>): Promise<PgResult | PgResult[]> {
    return this.#inTurn(
      () => true,
      async () => {
        const savepoint = `db_context_test_${++this.#savepoints}`;
        await this.#client.query(`savepoint ${savepoint}`);
        try {
          const result = await query();
          await this.#client.query(`release savepoint ${savepoint}`);
          const outer = this.#levels.at(-1);
          if (outer !== undefined && WRITE_COMMANDS.test(commandOf(result))) {
            outer.holdsCommitted = true;
          }
          return result;
        } catch (error) {
          await this.#undoTo(savepoint);
          throw error;
        }
      },
    );
  }

  /** @returns whether it is committed; if not, it was rolled back, as PostgreSQL does it */
  async commit(client: SharedClient): Promise<boolean> {
    return this.#endOf(client, async (level, outer) => {
      if (this.#client.getTransactionStatus() === 'E') {
        await this.#rollBack(level);
        return false;
      }
      await level.commit.apply();
      const hasWritten =
        level.writesBefore !== undefined &&
        (level.holdsCommitted || (await countWrites(this.#client)) > level.writesBefore);
      await this.#client.query(`release savepoint ${level.savepoint}`);
      this.#leave(level);
      if (outer !== undefined && hasWritten) {
        outer.holdsCommitted = true;
      }
      return true;
    });
  }

  async rollBack(client: SharedClient): Promise<void> {
    await this.#endOf(client, (level) => this.#rollBack(level));
  }

  /** Undoes a part at once, with all that is open inside of it: its client was destroyed. */
  async abandon(client: SharedClient): Promise<void> {
    await this.#queue.run(async () => {
      const level = this.#levelOf(client);
      if (level !== undefined && active.has(this.connection)) {
        await this.#rollBack(level);
      }
    });
  }

  async #endOf<T>(
    client: SharedClient,
    end: (level: Level, outer: Level | undefined) => Promise<T>,
  ): Promise<T> {
    return this.#inTurn(
      () => this.#levels.at(-1)?.client === client,
      () => end(this.#levels.at(-1)!, this.#levels.at(-2)),
    );
  }

  async #rollBack(level: Level): Promise<void> {
    await this.#undoTo(level.savepoint);
    this.#leave(level);
    if (level.holdsCommitted && !this.#isTest(level)) {
      this.#refused = this.refusal(
        'a transaction was rolled back after another one, inside of it, had been committed ' +
          '(runInNewContext(), newAtomicSession(), requires_new, or a statement of the test itself); ' +
          'what that committed is lost here, and would be saved in production.',
      );
    }
  }

  async #undoTo(savepoint: string): Promise<void> {
    const undo = `rollback to savepoint ${savepoint}; release savepoint ${savepoint}`;
    // A cancel request that was on its way to the statement before may hit this one.
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#client.query(undo);
        return;
      } catch (error) {
        if (attempt === 3 || (error as { code?: unknown }).code !== '57014') {
          throw error;
        }
      }
    }
  }

  #leave(level: Level): void {
    this.#levels.splice(this.#levels.indexOf(level));
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  readonly #onError = (error: Error): void => {
    this.errorListeners.forEach((listener) => listener(error));
  };

  #levelOf(client: SharedClient): Level | undefined {
    return this.#levels.find((level) => level.client === client);
  }

  #isTest({ client }: Level): boolean {
    return client.holder === this.testHolder;
  }

  #mayOpen({ holder }: SharedClient): boolean {
    const top = this.#levels.at(-1);
    if (top === undefined || holder === undefined || this.#isTest(top)) {
      return true;
    }
    for (let each: Holder | undefined = holder; each !== undefined; each = each.outer) {
      if (each === top.client.holder) {
        return true;
      }
    }
    return false;
  }

  /** Runs a task as soon as it may, one at a time: between the look and the task nobody gets in. */
  async #inTurn<T>(may: () => boolean, task: () => Promise<T>): Promise<T> {
    const limitMs = this.connection.limits.acquireTimeoutMs;
    const deadline = performance.now() + limitMs;
    for (;;) {
      const turn = await this.#queue.run(async () => {
        if (this.#refused !== undefined) {
          throw this.#refused;
        }
        return may() ? { result: await task() } : { wait: this.#changed.promise };
      });
      if ('result' in turn) {
        return turn.result;
      }
      const left = deadline - performance.now();
      if (left <= 0 || (await withinLimit(turn.wait, left)) === TIMED_OUT) {
        throw this.refusal(
          `a transaction waited ${limitMs} ms (acquireTimeoutMs) for another one to end; those that ` +
            'are not inside of one another take turns.',
        );
      }
    }
  }
}

function commandOf(result: PgResult | PgResult[]): string {
  const results = Array.isArray(result) ? result : [result];
  return (
    results.map(({ command }) => command ?? '').find((each) => WRITE_COMMANDS.test(each)) ?? ''
  );
}
