import type { Holder } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';
import { mayHaveEnded } from '../postgresql/transaction-end-statements.js';
import type { Asked, QueryAnswer } from './asked.js';
import { TestIsolationError } from './errors.js';
import { GuardedTransaction } from './guarded-transaction.js';
import { RealClientErrors } from './real-client-errors.js';
import { SharedClient } from './shared-client.js';
import type { FirstText, SharedConnection, SharedParty } from './shared-connection.js';
import { SharedLevels } from './shared-levels.js';
import type { Layer } from './test-layer.js';
import { graceFromNow, TestLayers } from './test-layers.js';
import type { TestOwner } from './test-owner.js';
import { unlessGivenUp } from './unless-given-up.js';
import type { ServedTransaction, TestPlace } from './test-place.js';
import { TestRouting } from './test-routing.js';
import { Turns } from './turns.js';

const LOST_WORK =
  'a transaction was rolled back after another one, inside of it, had been committed (runInNewContext(), ' +
  'newAtomicSession(), requires_new, or a statement of the test itself); what that committed is lost ' +
  'here, and would be saved in production.';
const ENDS_TEST =
  'where it would end the transaction of the test. End the transaction through the session.';

/**
 * One real transaction of one connection, in which all transactions of the application and of the test
 * are savepoints (T1). Savepoints are a stack: one is open inside of another only where its unit of work
 * runs inside of the other's, and all others take turns.
 *
 * What would differ from production is refused: a rollback to a savepoint would also undo what an inner
 * unit of work had committed for good.
 */
export class SharedTransaction implements SharedConnection, ServedTransaction {
  readonly connection: DbConnection;
  readonly #real: GuardedTransaction;
  readonly #levels: SharedLevels;
  readonly #layers: TestLayers;
  readonly #turns: Turns;
  readonly #place: TestPlace;
  readonly errors: RealClientErrors;

  private constructor(connection: DbConnection, real: GuardedTransaction, place: TestPlace) {
    this.connection = connection;
    this.#real = real;
    this.#place = place;
    this.#levels = new SharedLevels(real);
    const { name, limits } = connection;
    const refusal = this.refusal.bind(this);
    this.#turns = new Turns(limits.acquireTimeoutMs, refusal);
    this.errors = new RealClientErrors(name, real.client, () => {
      // Their savepoints are gone.
      this.#levels.forget();
      this.#turns.change();
    });
    this.#layers = new TestLayers({
      real,
      errors: this.errors,
      levels: this.#levels,
      turns: this.#turns,
      endTimeoutMs: limits.endTimeoutMs,
      refusal,
    });
  }

  /**
   * Takes a connection and begins. From then on the work of its test gets shared clients on the connection.
   *
   * @param owner the test; `undefined` where all work belongs to the test that runs
   * @param signal gives it up
   * @throws the reason of the signal, {@link AcquireTimeoutError}, {@link ConnectionFailedError}
   * @throws {@link TestIsolationError} one has begun for that work and not ended
   */
  static async begin(
    connection: DbConnection,
    owner?: TestOwner,
    signal?: AbortSignal,
  ): Promise<SharedTransaction> {
    const place = TestRouting.of(connection).reserve(owner);
    let client: PgClient | undefined;
    try {
      client = await unlessGivenUp(signal, place.takeRealClient(), (late) => late.release(true));
      const real = await unlessGivenUp(signal, GuardedTransaction.begin(client, connection));
      const shared = new SharedTransaction(connection, real, place);
      place.serve(shared);
      return shared;
    } catch (error) {
      place.leave();
      client?.release(true);
      throw error;
    }
  }

  /** The real client, of which shared clients say the address, the status and the process id. */
  get realClient(): PgClient {
    return this.#real.client;
  }

  /** The innermost layer, which what is done now belongs to. */
  get layer(): Layer {
    return this.#layers.innermost;
  }

  /** Number of transactions of the application that are open, or about to begin. */
  get openTransactions(): number {
    const clients = [...this.#levels.clients, ...this.#turns.clients];
    return new Set(clients.filter((each) => !isTest(each))).size;
  }

  /** See {@link ServedTransaction.clientFor}. */
  clientFor(holder: Holder | undefined): PgClient {
    return new SharedClient(this, holder);
  }

  /** See {@link TestLayers.enter}: all work belongs to that layer then, which no longer rests. */
  async enter(): Promise<Layer> {
    this.#place.begin();
    try {
      const layer = await this.#layers.enter();
      this.#place.serve(this);
      return layer;
    } catch (error) {
      this.rest();
      throw error;
    }
  }

  /** From now on work belongs to no test, until the next one begins in this transaction. */
  rest(): void {
    this.#place.rest();
  }

  /**
   * Undoes what was done in a layer, by default in the whole transaction, which is then over.
   *
   * @throws {@link TestIsolationError} a transaction of the application is still open
   */
  end(layer: Layer = this.#layers.outermost, deadline = graceFromNow()): Promise<void> {
    return (layer.ending ??=
      layer === this.#layers.outermost
        ? this.#endAll(layer, deadline)
        : this.#layers.end(layer, { deadline, onShut: () => this.rest() }));
  }

  async #endAll(layer: Layer, deadline: number): Promise<void> {
    const onShut = (): void => {
      this.errors.stop();
      this.#place.leave();
    };
    try {
      await this.#layers.end(layer, { deadline, onShut });
    } finally {
      this.realClient.release(this.#real.status !== 'I');
    }
  }

  /** An error that says what a shared transaction cannot show. */
  refusal(reason: string): TestIsolationError {
    return new TestIsolationError(this.connection.name, reason);
  }

  /** See {@link SharedConnection.isOpen}. */
  isOpen(client: SharedParty): boolean {
    return isTest(client) ? !client.layer.isOver : this.#levels.has(client);
  }

  /** See {@link SharedConnection.open}. */
  async open(client: SharedParty, isReadOnly: boolean): Promise<void> {
    // What the test does is undone with its layer, which has begun.
    if (!isTest(client)) {
      await this.#whenMayOpen(client, () => this.#levels.open(client, isReadOnly));
    }
  }

  /** See {@link SharedConnection.openWith}. */
  openWith(client: SharedParty, first: FirstText): Promise<QueryAnswer> {
    this.#assertEndsNothing(first.asked.sql);
    return this.#whenMayOpen(client, () => this.#levels.openWith(client, first));
  }

  /** See {@link SharedConnection.readWhole}. */
  readWhole(client: SharedParty, first: FirstText): Promise<QueryAnswer> {
    this.#assertEndsNothing(first.asked.sql);
    return this.#whenMayOpen(client, () => this.#levels.readWhole(client, first));
  }

  /** See {@link SharedConnection.send}. */
  send(client: SharedParty, asked: Asked): Promise<QueryAnswer> {
    if (isTest(client)) {
      return this.sendAlone(client, asked).catch((error: unknown) => {
        throw this.errors.lost ?? error;
      });
    }
    this.#assertEndsNothing(asked.sql);
    return this.#whenOnTop(client, () => this.#levels.send(client, asked));
  }

  /** See {@link SharedConnection.sendAlone}. */
  sendAlone(client: SharedParty, asked: Asked): Promise<QueryAnswer> {
    this.#assertEndsNothing(asked.sql);
    const send = async (): Promise<QueryAnswer> => {
      const isOnTop = this.#levels.count === 0;
      const answer = await this.#real.sendGuarded(asked, { isOnTop });
      this.#real.constraints.ran(answer);
      this.#levels.ranBeside(answer);
      return answer;
    };
    return this.#take(client, () => true, send);
  }

  /** See {@link SharedConnection.lend}. */
  lend<T>(
    client: SharedParty,
    use: (realClient: PgClient, onSend: OnSend) => Promise<T>,
  ): Promise<T> {
    const onSend: OnSend = (sql, values) => {
      this.#assertEndsNothing(sql, 'on the client of withClient()');
      this.#levels.lentSends(client, sql, values);
    };
    return this.#whenOnTop(client, async () => {
      try {
        return await this.#turns.lent(() => use(this.realClient, onSend));
      } finally {
        await this.#layers.refuseIfStuck(this.connection.limits.drainTimeoutMs);
      }
    });
  }

  /** See {@link SharedConnection.commit}. */
  async commit(client: SharedParty, questions: readonly string[]): Promise<PgResult[] | undefined> {
    this.#assertNoTest(client);
    return this.#whenOnTop(client, () => this.#ending(() => this.#levels.commit(questions)));
  }

  /** See {@link SharedConnection.rollBack}. */
  async rollBack(client: SharedParty): Promise<void> {
    if (client.layer.isOver) {
      return;
    }
    this.#assertNoTest(client);
    await this.#whenOnTop(client, () => this.#ending(() => this.#rollBack(client)));
  }

  #assertNoTest(client: SharedParty): void {
    if (isTest(client)) {
      throw this.refusal('the session of the test was to commit or to roll back.');
    }
  }

  /** See {@link SharedConnection.abandon}. */
  async abandon(client: SharedParty): Promise<void> {
    await this.#turns.next(() =>
      this.#ending(async () => {
        if (this.#layers.isStuck) {
          this.#levels.forget(client);
        } else {
          await this.#rollBack(client);
        }
      }),
    );
  }

  async #rollBack(client: SharedParty): Promise<void> {
    if (await this.#levels.rollBack(client)) {
      client.layer.refusedFor ??= LOST_WORK;
    }
  }

  async #ending<T>(end: () => Promise<T>): Promise<T> {
    try {
      return await end();
    } finally {
      this.#turns.change();
    }
  }

  #assertEndsNothing(sql: string, where = 'as SQL'): void {
    if (mayHaveEnded(sql)) {
      throw this.refusal(`a COMMIT or ROLLBACK was to be sent ${where}, ${ENDS_TEST}`);
    }
  }

  #whenMayOpen<T>(client: SharedParty, run: () => Promise<T>): Promise<T> {
    return this.#take(client, () => this.#levels.mayOpen(client.holder), run);
  }

  #whenOnTop<T>(client: SharedParty, run: () => Promise<T>): Promise<T> {
    return this.#take(client, () => this.#levels.topClient === client, run);
  }

  #take<T>(client: SharedParty, may: () => boolean, run: () => Promise<T>): Promise<T> {
    const refused = (): Error | undefined => this.#layers.refusalIn(client.layer);
    return this.#turns.take({ client, refused, may, run });
  }
}

/** Whether it is the client of the test itself. */
function isTest({ holder, layer }: SharedParty): boolean {
  return holder === layer.holder;
}
