import type { Holder } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { isQuietWithin } from '../connection/quiet-client.js';
import { cancelBackend } from '../postgresql/cancel-request.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';
import { mayHaveEnded } from '../postgresql/transaction-end-statements.js';
import { AsyncScope } from '../transaction/async-scope.js';
import { SerialQueue } from '../transaction/serial-queue.js';
import { TestIsolationError } from './errors.js';
import { beforePoolEnds, tapPool } from './pool-tap.js';
import { SharedClient, type SharedConnection } from './shared-client.js';
import { countWrites, deferredConstraints, SimulatedCommit } from './simulated-commit.js';

/** Code that has the real client to itself. */
class LentScope extends AsyncScope {
  readonly shared: SharedTransaction;

  constructor(shared: SharedTransaction) {
    super();
    this.shared = shared;
  }
}

const WRITE_COMMANDS = /^(insert|update|delete|merge|copy|create|alter|drop|truncate)/i;

/** How long transactions of the application may take to end after their test, in milliseconds. */
const GRACE_MS = 1_000;

/** The shared transaction of each connection; `undefined` while it begins. */
const active = new WeakMap<DbConnection, SharedTransaction | undefined>();

/** The shared transaction of a connection, while there is one. */
export function sharedTransactionOf(connection: DbConnection): SharedTransaction | undefined {
  return active.get(connection);
}

/** A transaction of the application: a savepoint of the shared one. */
interface Level {
  readonly client: SharedClient;
  readonly savepoint: string;
  readonly commit: SimulatedCommit;
  /** How many rows the whole shared transaction had written before; known for inner transactions only. */
  readonly writesBefore: bigint | undefined;
  /** Whether an inner transaction has committed rows, which would be saved even if this one fails. */
  holdsCommitted: boolean;
}

/**
 * One real transaction of one connection, in which all transactions of the application and of the test
 * are savepoints (T1). Savepoints are a stack: one is open inside of another only where its unit of work
 * runs inside of the other's, and all others take turns.
 *
 * What would differ from production is refused: a rollback to a savepoint would also undo what an inner
 * unit of work had committed for good.
 */
export class SharedTransaction implements SharedConnection {
  readonly connection: DbConnection;
  /** The holder of the test's own session, inside of which everything else runs. */
  readonly testHolder: Holder = { outer: undefined };
  readonly #client: PgClient;
  readonly #deferred: string | undefined;
  readonly #levels: Level[] = [];
  readonly #queue = new SerialQueue();
  readonly #undo: (() => void)[] = [];
  // They are kept here because an event emitter such as the real client warns of more than ten.
  readonly errorListeners = new Set<(error: Error) => void>();
  #changed = Promise.withResolvers<void>();
  #savepoints = 0;
  /** Why no statement is sent any more: its result would differ from that in production. */
  #refused: TestIsolationError | undefined;
  /** Whether the client is in the middle of a copy that nobody ends, so that it answers nothing more. */
  #isStuck = false;
  #ending: Promise<void> | undefined;

  private constructor(connection: DbConnection, client: PgClient, deferred: string | undefined) {
    this.connection = connection;
    this.#client = client;
    this.#deferred = deferred;
  }

  /**
   * Takes a connection and begins. From then on the pool of the connection hands out shared clients.
   *
   * @throws {@link AcquireTimeoutError}, {@link ConnectionFailedError}
   * @throws {@link TestIsolationError} one has begun on the connection and not ended
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
      const pool = await connection.pool();
      shared.#undo.push(
        () => client?.off('error', shared.#onError),
        tapPool(pool, () => new SharedClient(shared, undefined)),
        // Some runners close the application in a hook that comes before the one that ends the test.
        beforePoolEnds(pool, () => shared.end().catch(() => undefined)),
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

  /** The real client, of which shared clients say the address, the status and the process id. */
  get realClient(): PgClient {
    return this.#client;
  }

  /** Number of transactions of the application that are open. */
  get openTransactions(): number {
    return this.#levels.filter(({ client }) => client.holder !== this.testHolder).length;
  }

  /**
   * Rolls everything back. Transactions of the application get a moment to end by themselves before, since
   * some responses leave before the commit. A further call has the result of the first.
   *
   * @throws {@link TestIsolationError} a transaction of the application is still open
   */
  end(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    const deadline = performance.now() + GRACE_MS;
    for (let left = GRACE_MS; left > 0 && this.openTransactions > 0;) {
      await withinLimit(this.#changed.promise, left);
      left = deadline - performance.now();
    }
    const left = this.openTransactions;
    active.delete(this.connection);
    this.#undo.toReversed().forEach((undo) => undo());
    this.#refused = this.refusal('it has ended, and this statement came later.');
    await this.#stopRunning();
    const rolledBack = await withinLimit(
      this.#queue.run(() => this.#rollBackAll()).catch(() => undefined),
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

  /** A statement that a test left running, as one that timed out, would keep its locks for the next one. */
  async #stopRunning(): Promise<void> {
    const answered = this.#queue.run(() => undefined);
    if ((await withinLimit(answered, GRACE_MS)) === TIMED_OUT) {
      await cancelBackend(this.#client);
    }
  }

  async #rollBackAll(): Promise<void> {
    if (!this.#isStuck) {
      await this.#client.query('rollback');
    }
  }

  /** An error that says what a shared transaction cannot show. */
  refusal(reason: string): TestIsolationError {
    return new TestIsolationError(this.connection.name, reason);
  }

  /** Begins the savepoint of a client. */
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

  /** Sends a statement of a client whose savepoint is open, or of the test itself. */
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
          // The test wrote inside of the savepoints that are open, and a rollback to one undoes it.
          this.#levels.forEach((level) => {
            level.holdsCommitted ||= !this.#isTest(level);
          });
        }
        return result;
      },
    );
  }

  /** See {@link SharedConnection.lend}. */
  async lend<T>(
    client: SharedClient,
    use: (realClient: PgClient, onSend: OnSend) => Promise<T>,
  ): Promise<T> {
    return this.#inTurn(
      () => this.#levels.at(-1)?.client === client,
      async () => {
        const onSend: OnSend = (sql, values) => this.#lentSends(client, sql, values);
        try {
          return await new LentScope(this).during(() => use(this.#client, onSend));
        } finally {
          await this.#refuseIfStuck();
        }
      },
    );
  }

  #lentSends(client: SharedClient, sql: string, values: readonly unknown[]): void {
    if (mayHaveEnded(sql)) {
      throw this.refusal(
        'a COMMIT or ROLLBACK was to be sent on the client of withClient(), where it would end the ' +
          'transaction of the test. End the transaction through the session.',
      );
    }
    // Its own failures do not matter: the statement that follows it fails in the same way.
    this.#levelOf(client)
      ?.commit.remember(sql, values)
      .catch(() => undefined);
  }

  /** Refuses all that follows where the server awaits the rest of a copy rather than a statement. */
  async #refuseIfStuck(): Promise<void> {
    if (!(await isQuietWithin(this.#client, this.connection.limits.drainTimeoutMs))) {
      this.#isStuck = true;
      this.#refused = this.refusal(
        'the callback of withClient() has returned, and its client was still at work. Await every query, ' +
          'end or destroy every copy, and close every cursor before it returns.',
      );
    }
  }

  /** Sends a statement that is in no transaction, in a savepoint of its own. */
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

  /** Rolls the savepoint of a destroyed client back at once, with all savepoints inside of it. */
  async abandon(client: SharedClient): Promise<void> {
    await this.#queue.run(async () => {
      const level = this.#levelOf(client);
      // After the end another shared transaction may have the client, and a savepoint of the same name.
      if (level !== undefined && active.get(this.connection) === this) {
        if (this.#isStuck) {
          this.#leave(level);
        } else {
          await this.#rollBack(level);
        }
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
    // A cancel request that was meant for the statement before may arrive late and hit this one.
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

  /**
   * Runs a task as soon as `may()` allows it. Tasks run one at a time, and nothing runs between that
   * check and the task.
   */
  async #inTurn<T>(may: () => boolean, task: () => Promise<T>): Promise<T> {
    const limitMs = this.connection.limits.acquireTimeoutMs;
    const deadline = performance.now() + limitMs;
    if (AsyncScope.innermost(LentScope, ({ shared, isOver }) => shared === this && !isOver)) {
      throw this.refusal(
        'a unit of work used its session in the callback of withClient(). All of them share one client ' +
          'here, which the callback has to itself. Do that work before or after it.',
      );
    }
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
