import { AsyncLocalStorage } from 'node:async_hooks';

import {
  cancelBackend,
  endsConnection,
  isServerError,
  type PgClient,
  type PgResult,
} from '../connection/pg-client.js';
import type { Claim, Holder } from '../connection/pool-claims.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { SessionClosedError, TransactionTimeoutError, type DbContextError } from '../errors.js';
import type { BeginStatement } from './begin-sql.js';
import { hasTriedToWrite, readOn } from './early-read.js';
import { sendTogether } from './first-message.js';
import { LeaseFaults } from './lease-faults.js';
import type { LeaseWatch } from './lease-watch.js';
import { StatementQueue } from './statement-queue.js';
import { abandon, commitOn, giveBack, rollBackOn, type EndSource } from './transaction-end.js';

/** What a lease needs of its connection. */
export interface LeaseSource extends EndSource {
  readonly limits: EndSource['limits'] & {
    readonly transactionTimeoutMs: number;
    readonly drainTimeoutMs: number;
  };
  checkOut(claim: Claim): Promise<PgClient>;
  /** Told of each statement that fails, and whether its transaction was asked to be read-only. */
  onFailure(error: unknown, client: PgClient, isReadOnly: boolean): void;
  /** How clients read what they wrote, where the position of writes is kept for that. */
  readonly readYourWrites?: object | undefined;
}

/** How a transaction begins. */
export interface LeaseBegin {
  readonly watch?: LeaseWatch | undefined;
  /** The unit of work that it is part of. */
  readonly holder: Holder | undefined;
  /** The statements that begin it; asked before a connection is taken. */
  statements(): readonly BeginStatement[];
  /** Whether its settings, as they are now, make it read-only. */
  isReadOnly(): boolean;
  /** Whether a replica may serve it. */
  mayReadReplica(): boolean;
  /** Whether the first statement may leave together with BEGIN: nobody has to be told in between. */
  mayRide(): boolean;
  /**
   * Finds what begins a transaction of its own for a statement that need not begin this one, because
   * it comes before the first write; `undefined` where it has to.
   */
  readAhead(sql: string): (() => Promise<readonly BeginStatement[]>) | undefined;
  /** Told before a connection is taken; may run statements itself. */
  before(): Promise<void> | undefined;
  /** Told after BEGIN, before the statement that caused it; may run statements itself. */
  after(): Promise<void>;
}

/** Asked right before a statement is sent; refuses it by throwing. */
export type Gate = () => void;

/** The statement that a transaction begins for. */
interface Rider {
  readonly sql: string;
  readonly gate: Gate;
  /** What became of it, if it left together with BEGIN. */
  answer?: Promise<PgResult | PgResult[]>;
}

const ignore = (): void => undefined;

const insideHooks = new AsyncLocalStorage<TransactionLease>();

/**
 * One transaction on one pooled connection, from the first statement to the verified end.
 *
 * What it keeps, and where:
 * - nothing is taken before the first statement, and BEGIN is sent once: `begin()` (L3, F5);
 * - statements go one at a time, each after a look at the gate: `#enqueue()` (F3);
 * - the gate shuts synchronously, before COMMIT or ROLLBACK: `shut()` (F3);
 * - what went wrong forbids the commit: `LeaseFaults` (F4);
 * - whoever ends it gets the client from `#takeClient()`, once, and gives it back or destroys it:
 *   `commitOn()`, `rollBackOn()`, `abandon()` (F1, F2, F4, S6);
 * - every wait has a limit (F6).
 */
export class TransactionLease implements Claim {
  readonly #source: LeaseSource;
  readonly #how: LeaseBegin;
  #ready: Promise<PgClient> | undefined;
  #begun: Promise<PgClient> | undefined;
  #client: PgClient | undefined;
  readonly #queue = new StatementQueue();
  #isShut = false;
  /** Called as the gate shuts. */
  readonly #onShut = new Set<() => void>();
  #objection: DbContextError | undefined;
  #ended = false;
  readonly #faults: LeaseFaults;
  /** A cancel request under way; it must not meet a later statement. */
  #cancelling: Promise<void> | undefined;
  /** Whether the client may go back into the pool at all. */
  #mayReuse = true;
  #deadline: NodeJS.Timeout | undefined;

  constructor(source: LeaseSource, how: LeaseBegin) {
    this.#source = source;
    this.#how = how;
    this.#faults = new LeaseFaults(source.name);
  }

  get connectionName(): string {
    return this.#source.name;
  }

  get holder(): Holder | undefined {
    return this.#how.holder;
  }

  /** Whether a statement is under way, or the end. */
  get isBusy(): boolean {
    return this.#isShut || this.#queue.unfinished > 0;
  }

  /** Whether it is, or will be, read-only. */
  get isReadOnly(): boolean {
    return this.#how.isReadOnly();
  }

  /** Whether a replica may serve it. */
  get mayReadReplica(): boolean {
    return this.#how.mayReadReplica();
  }

  /** Whether a connection was asked for, so that there is something to end. */
  get hasBegun(): boolean {
    return this.#ready !== undefined;
  }

  /** Resolves when the gate shuts. */
  get whenShut(): Promise<void> {
    return new Promise((resolve) => this.#whenShut(resolve));
  }

  /** Whether the gate is shut. */
  get isShut(): boolean {
    return this.#isShut;
  }

  get failure(): Error | undefined {
    return this.#faults.first;
  }

  /**
   * Takes a connection and sends BEGIN; once, however many callers there are.
   *
   * @throws {@link AcquireTimeoutError}, {@link ConnectionFailedError} or the server's error
   */
  async begin(rider?: Rider): Promise<PgClient> {
    this.assertOpen();
    // Statements of the hooks would otherwise wait for the hooks.
    if (insideHooks.getStore() === this) {
      // Not in its turn, which comes after a read whose settings are being computed.
      this.#how.statements();
      return this.#beginOnce();
    }
    this.#ready ??= insideHooks.run(this, () => this.#beginWithHooks(rider));
    return this.#ready;
  }

  /**
   * Waits for code of others that works in the transaction, as long as that is open: what never
   * returns must not be waited for when the transaction has been ended for it.
   *
   * @throws what `work` throws, or why the transaction is over
   */
  async whileOpen<T>(work: Promise<T>): Promise<T> {
    let giveUp: () => void;
    const over = new Promise<never>((_, reject) => {
      giveUp = () =>
        reject(this.#faults.objectionOfDoom ?? new SessionClosedError(this.connectionName));
      this.#whenShut(giveUp);
    });
    try {
      return await Promise.race([work, over]);
    } finally {
      // Every gate shuts one day, and an error that nobody hears of costs its stack all the same.
      this.#onShut.delete(giveUp!);
    }
  }

  #whenShut(listener: () => void): void {
    if (this.#isShut) {
      queueMicrotask(listener);
    } else {
      this.#onShut.add(listener);
    }
  }

  /** Sends one statement, after all for which this was called before. */
  async run(sql: string, values: readonly unknown[], gate: Gate): Promise<PgResult | PgResult[]> {
    this.#how.watch?.sent(sql);
    // With parameters it takes another kind of message.
    const rider: Rider | undefined = values.length === 0 ? { sql, gate } : undefined;
    const reading = rider && this.#readAhead(rider);
    const read = reading && (await reading);
    if (read !== undefined) {
      return read;
    }
    const client = await this.begin(rider);
    if (rider?.answer !== undefined) {
      return rider.answer;
    }
    return this.#enqueue(() => this.#send(client, sql, values, gate));
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
      this.#onShut.forEach((listener) => listener());
      this.#onShut.clear();
      this.#objection = this.#faults.objectionToCommit(this.#queue.unfinished);
    }
    return this.#faults.objectionOfDoom ?? this.#objection;
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
    const client = this.#takeClient();
    if (client !== undefined) {
      await this.#cancelling;
      await commitOn(client, this.#source, this.#mayReuse, this.#noteWrite).finally(() =>
        this.#stopListening(client),
      );
    }
  }

  /**
   * Ends the transaction without saving anything. Never throws: a connection on which ROLLBACK
   * fails is destroyed, and the server then rolls back by itself.
   */
  async rollback(): Promise<void> {
    this.shut();
    if (this.#client !== undefined && !this.#faults.isDoomed) {
      const drained = await withinLimit(this.#queue.drained, this.#source.limits.drainTimeoutMs);
      if (drained === TIMED_OUT) {
        this.kill(new SessionClosedError(this.connectionName));
      }
    }
    const client = this.#takeClient();
    if (client === undefined) {
      await this.#cancelling;
      return;
    }
    if (!this.#faults.isDoomed) {
      await this.#cancelling;
      await rollBackOn(client, this.#source, this.#mayReuse);
      this.#stopListening(client);
    } else {
      await abandon(client);
    }
  }

  /**
   * Gives up on the connection at once: cancels what the server is running and destroys the
   * client. Statements in flight fail; later ones and a commit are refused with `reason`.
   */
  kill(reason: Error): void {
    this.#faults.doom(reason);
    this.shut();
    const client = this.#takeClient();
    if (client !== undefined) {
      // A rollback that follows waits for it.
      this.#cancelling = abandon(client);
    }
  }

  /** Cancels the statement in flight; it fails with the server's error 57014. */
  cancel(): void {
    if (this.#client !== undefined) {
      this.#cancelling = cancelBackend(this.#client).then((isOver) => {
        this.#mayReuse &&= isOver;
      });
    }
  }

  async #beginWithHooks(rider: Rider | undefined): Promise<PgClient> {
    try {
      const before = this.#how.before();
      if (before !== undefined) {
        await before;
      }
      const client = await this.#beginOnce(this.#how.mayRide() ? rider : undefined);
      if (rider?.answer === undefined) {
        await this.whileOpen(this.#how.after());
      }
      return client;
    } catch (error) {
      this.#faults.noteNoBegin(error as Error);
      throw error;
    }
  }

  /**
   * Sends a statement in a transaction of its own, before this one begins. In turn with all others:
   * one session never has two connections.
   *
   * @returns `undefined` if it has to be sent in this one; nothing of it has happened then
   */
  #readAhead({ sql, gate }: Rider): Promise<PgResult | PgResult[] | undefined> | undefined {
    const compute = this.hasBegun ? undefined : this.#how.readAhead(sql);
    if (compute === undefined || insideHooks.getStore() === this) {
      return undefined;
    }
    const begin = insideHooks.run(this, compute);
    // It is awaited only when its turn has come.
    begin.catch(ignore);
    return this.#enqueue(async () => {
      const statements = await begin;
      const client = await this.#hold();
      client.on('error', ignore);
      const end = async (giveUp: (client: PgClient) => unknown): Promise<void> => {
        // Whoever has killed it has done away with the client as well.
        if (this.#client === client) {
          this.#letGo();
          await this.#cancelling;
          await giveUp(client);
          client.off('error', ignore);
        }
      };
      try {
        gate();
        const answer = await readOn(client, this.#source, statements, sql);
        await end((each) => giveBack(each, this.#mayReuse));
        return answer;
      } catch (error) {
        this.#source.onFailure(error, client, true);
        const isAnswered = isServerError(error) && !endsConnection(error);
        await end((each) =>
          isAnswered ? rollBackOn(each, this.#source, this.#mayReuse) : abandon(each),
        );
        if (hasTriedToWrite(error)) {
          return undefined;
        }
        throw this.#faults.told(error as Error);
      } finally {
        this.#how.watch?.answered();
      }
    });
  }

  #beginOnce(rider?: Rider): Promise<PgClient> {
    this.#begun ??= this.#enqueue(() => this.#begin(rider));
    return this.#begun;
  }

  async #begin(rider: Rider | undefined): Promise<PgClient> {
    const statements = this.#how.statements();
    const client = await this.#hold();
    client.on('error', this.#onClientError);
    if (rider !== undefined && (await this.#sendWithBegin(client, statements, rider))) {
      return client;
    }
    for (const { sql, values } of statements) {
      const startedAt = Date.now();
      await this.#send(client, sql, values);
      this.#source.onStatement(sql, Date.now() - startedAt);
    }
    return client;
  }

  /** Takes a connection, for `transactionTimeoutMs` at most. */
  async #hold(): Promise<PgClient> {
    const client = await this.#source.checkOut(this);
    if (this.#isShut) {
      client.release();
      throw new SessionClosedError(this.connectionName);
    }
    this.#client = client;
    const { transactionTimeoutMs } = this.#source.limits;
    this.#deadline = setTimeout(() => {
      this.kill(new TransactionTimeoutError(this.connectionName, transactionTimeoutMs));
    }, transactionTimeoutMs);
    this.#deadline.unref();
    return client;
  }

  #letGo(): void {
    clearTimeout(this.#deadline);
    this.#client = undefined;
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    return this.#queue.add(() => {
      this.assertOpen();
      return task();
    });
  }

  async #send(
    client: PgClient,
    sql: string,
    values: readonly unknown[],
    gate?: Gate,
  ): Promise<PgResult | PgResult[]> {
    await this.#cancelling;
    gate?.();
    this.#source.onSend(sql);
    try {
      const result = await (values.length === 0 ? client.query(sql) : client.query(sql, values));
      this.#faults.noteSuccess(client, this.#isShut);
      return result;
    } catch (error) {
      throw this.#noteFailure(error as Error, client);
    } finally {
      this.#how.watch?.answered();
    }
  }

  /**
   * Sends what begins the transaction and its first statement as one message.
   *
   * @returns whether it did; if not, nothing of it has run, and each has to be sent by itself
   */
  async #sendWithBegin(
    client: PgClient,
    begin: readonly BeginStatement[],
    rider: Rider,
  ): Promise<boolean> {
    try {
      rider.gate();
    } catch {
      // It is asked again, and refused, when it comes by itself.
      return false;
    }
    try {
      const sent = await sendTogether(client, this.#source, begin, rider.sql);
      if (sent === undefined) {
        return false;
      }
      this.#faults.noteSuccess(client, this.#isShut);
      rider.answer = Promise.resolve(sent.answer);
    } catch (error) {
      rider.answer = Promise.reject(this.#noteFailure(error as Error, client));
      // It is awaited only when the begin has returned.
      rider.answer.catch(ignore);
    } finally {
      this.#how.watch?.answered();
    }
    return true;
  }

  /** @returns the error to be thrown */
  #noteFailure(error: Error, client: PgClient): Error {
    this.#source.onFailure(error, client, this.isReadOnly);
    return this.#faults.noteFailure(error);
  }

  /** @throws {@link SessionClosedError} what comes after the end is refused with it */
  refuse(): never {
    this.#how.watch?.refused();
    throw new SessionClosedError(this.connectionName);
  }

  /** @throws what a statement would be refused with */
  assertOpen(): void {
    this.#faults.assertInTime();
    if (this.#isShut) {
      this.refuse();
    }
    this.#faults.assertNotDoomed();
  }

  /** Why it could not be committed as it is now; statements that are still running aside. */
  get objection(): DbContextError | undefined {
    return this.#faults.objection;
  }

  /** Notes how far a replica must be to show what was written; `undefined` where nobody asks. */
  get #noteWrite(): ((position: bigint) => void) | undefined {
    const { positions } = this.#how.holder ?? {};
    return positions === undefined || this.#source.readYourWrites === undefined || this.isReadOnly
      ? undefined
      : (position) => positions.wrote(this.connectionName, position);
  }

  /** Hands the client to whoever ends the transaction, exactly once. */
  #takeClient(): PgClient | undefined {
    if (this.#ended) {
      return undefined;
    }
    this.#ended = true;
    this.#how.watch?.ended();
    const client = this.#client;
    this.#letGo();
    return client;
  }

  #stopListening(client: PgClient): void {
    client.off('error', this.#onClientError);
  }

  readonly #onClientError = (error: Error): void => {
    this.#faults.doom(error);
  };
}
