import type { Answer } from '../connection/lease.js';
import type { Claim, Holder } from '../connection/claim.js';
import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
} from '../errors.js';
import type { Outcome } from '../outcome.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import type { TransactionOwner, TransactionSource } from './begin-plan.js';
import { Begin, type FirstStatement } from './begin.js';
import { End } from './end.js';
import { RequestedSettings } from './requested-settings.js';
import { TransactionPart, type WholeTransaction } from './savepoint.js';
import { SerialQueue } from './serial-queue.js';
import type { Server } from './server.js';
import { StateMachine, whileOpen } from './state-machine.js';
import { failureOf, hasBegun, leaseOf, refusalOf, type Failure } from './transaction-state.js';

/**
 * One transaction on one connection, from its first statement to its verified end.
 *
 * - L3: nothing is taken before the first statement, and that begins it: `send()`, {@link Begin}.
 * - F3: statements go one at a time, each after a look at the gate: `send()`. The gate shuts
 *   synchronously, before COMMIT or ROLLBACK: `shut()`.
 * - F4: what has failed forbids the commit: {@link StateMachine}.
 * - F1: it ends once, and a second end waits for the first: {@link End}.
 */
export class Transaction extends TransactionPart implements WholeTransaction, Claim {
  readonly #source: TransactionSource;
  readonly #owner: TransactionOwner;
  readonly #machine: StateMachine;
  readonly #begin: Begin;
  readonly #end: End;
  readonly #queue = new SerialQueue();
  /** How many calls of `limit()` are under way. */
  #limited = 0;
  readonly #settings: RequestedSettings;

  /** @param settings win over those of the connection */
  constructor(source: TransactionSource, owner: TransactionOwner, settings: TransactionSettings) {
    super();
    this.#source = source;
    this.#owner = owner;
    this.#settings = new RequestedSettings(source.transactionOptions.transaction, settings);
    this.#machine = new StateMachine(source, () => this.#hasEnded());
    this.#begin = new Begin(source, owner, this.#machine, this);
    this.#end = new End(source, owner, this.#machine);
  }

  get whole(): this {
    return this;
  }

  get parent(): undefined {
    return undefined;
  }

  override get connectionName(): string {
    return this.#source.name;
  }

  get server(): Server {
    return this.#source.server;
  }

  get savepointTimeoutMs(): number {
    return this.#source.limits.savepointTimeoutMs;
  }

  /** See {@link Claim.holder}. */
  get holder(): Holder | undefined {
    return this.#owner.holder;
  }

  /** See {@link Claim.isBusy}. */
  get isBusy(): boolean {
    return this.isShut || this.#queue.unfinished > 0;
  }

  /** Whether it is, or will be, read-only. */
  get isReadOnly(): boolean {
    return this.#settings.effective.readOnly === true;
  }

  /** See {@link Claim.mayReadReplica}. A standby knows no serializable transactions. */
  get mayReadReplica(): boolean {
    return this.isReadOnly && this.#settings.effective.isolationLevel !== 'serializable';
  }

  /** Whether a connection was asked for, so that there is something to end. */
  get hasBegun(): boolean {
    return hasBegun(this.#machine.state);
  }

  override get isOpen(): boolean {
    return this.#machine.isOpen;
  }

  override get isShut(): boolean {
    return !this.#machine.isOpen;
  }

  /** How it has ended; `undefined` while it has not. */
  override get outcome(): Outcome | undefined {
    const { state } = this.#machine;
    return state.tag === 'ended' ? state.outcome : undefined;
  }

  override get isUndone(): boolean {
    return this.isShut && this.outcome !== 'committed' && this.outcome !== 'untouched';
  }

  get failure(): Failure | undefined {
    return failureOf(this.#machine.state);
  }

  /** Why it could not be committed as it is now; statements that are still running aside. */
  get commitBlocker(): DbContextError | undefined {
    return this.#machine.commitBlocker;
  }

  get whenShut(): Promise<void> {
    return new Promise((resolve) => this.#machine.whenShut(resolve));
  }

  override assertOpen(): void {
    const refusal = refusalOf(this.#machine.state, this.connectionName);
    if (refusal !== undefined) {
      if (refusal instanceof SessionClosedError) {
        this.#owner.watch?.refused();
        this.holder?.refused?.(refusal);
      }
      throw refusal;
    }
  }

  /**
   * Limits work that can hang before its first statement (F6).
   *
   * @throws what `work` throws, or why the transaction is over
   */
  async limit<T>(work: Promise<T>): Promise<T> {
    this.#machine.startDeadline();
    this.#limited++;
    try {
      return await this.whileOpen(work);
    } finally {
      this.#limited--;
      if (this.#limited === 0) {
        this.#machine.stopIdleDeadline();
      }
    }
  }

  /**
   * Waits for code of others that works in the transaction, for as long as that is open: what never
   * returns must not be waited for when the transaction has been ended for it (F6).
   *
   * @throws what `work` throws, or why the transaction is over
   */
  whileOpen<T>(work: Promise<T>): Promise<T> {
    return whileOpen(this.#machine, this.connectionName, work);
  }

  /**
   * Makes the transaction begin with these settings, when it does.
   *
   * @throws {@link InvalidTransactionStateError} it has begun with others
   */
  demand(settings: TransactionSettings): void {
    this.#settings.demand(settings, this.#machine.state, this.connectionName);
  }

  /**
   * Begins now rather than with the first statement.
   *
   * @throws {@link InvalidTransactionStateError} it has begun already
   */
  async begin(settings: TransactionSettings): Promise<void> {
    if (this.hasBegun) {
      throw new InvalidTransactionStateError(
        this.connectionName,
        'begin() was called and the transaction has begun already. Use em.transactional() for a ' +
          'savepoint, or commit() first.',
      );
    }
    this.demand(settings);
    if (this.#begin.currentScope !== undefined) {
      throw this.#owner.planMisused();
    }
    await this.#queue.run(() => {
      this.assertOpen();
      return this.#begin.run(this.#settings.own, undefined);
    });
  }

  /** Sends a statement of a part of this transaction in its turn; the first one begins it (L3, F3). */
  async send(
    part: TransactionPart,
    sql: string,
    values: readonly unknown[],
    onSend?: () => void,
  ): Promise<Answer> {
    const { watch } = this.#owner;
    watch?.sent(sql);
    part.assertOpen();
    const machine = this.#machine;
    const scope = this.#begin.currentScope;
    const queue = scope?.queue ?? this.#queue;
    const mayBeFirst = !machine.isBegun;
    part.unfinished++;
    const turn = queue.enter();
    try {
      if (turn !== undefined) {
        await turn;
      }
      if (mayBeFirst && !machine.isBegun) {
        const answer = await (scope === undefined
          ? this.#sendFirst({ part, sql, values, onSend })
          : this.#begin.runInside());
        if (answer !== undefined) {
          return answer;
        }
      }
      part.assertOpen();
      onSend?.();
      machine.sends(sql);
      const lease = leaseOf(machine.state)!;
      try {
        const answer = await lease.query(sql, values);
        machine.answered(sql, answer);
        return answer;
      } catch (error) {
        this.#source.onFailure(error, lease.client, this.isReadOnly);
        throw machine.failed(sql, error);
      }
    } finally {
      queue.leave();
      part.unfinished--;
      watch?.answered();
    }
  }

  /** @returns `undefined` if the statement is still to be sent, in the transaction that has begun */
  async #sendFirst(first: FirstStatement): Promise<Answer | undefined> {
    const { state } = this.#machine;
    if (state.tag === 'broken' && !state.hasBegun) {
      // It has waited for a begin that failed, and why that failed is the reason for both.
      throw state.cause.error;
    }
    first.part.assertOpen();
    const { server } = this.#source;
    if (
      first.values.length === 0 &&
      this.#owner.mayReadAhead(this.#settings.effective) &&
      server.isPlainRead(first.sql)
    ) {
      const answer = await this.#begin.readAhead(this.#settings.own, first);
      if (answer !== undefined) {
        return answer;
      }
      first.part.assertOpen();
    }
    return this.#begin.run(this.#settings.own, first);
  }

  /** Cancels the statement in flight; it fails with the server's error 57014. */
  cancel(): void {
    leaseOf(this.#machine.state)?.cancel();
  }

  /** See {@link StateMachine.kill}. */
  kill(reason: Error): void {
    this.#machine.kill(reason);
  }

  /**
   * Shuts the gate, synchronously: from here on no statement is sent but those that end the
   * transaction (F3). May be called again.
   *
   * @returns why the transaction cannot be committed, if it cannot
   */
  shut(): DbContextError | undefined {
    const { state } = this.#machine;
    if (this.isOpen) {
      const isInUse = this.#queue.unfinished > 0 || this.unfinished > 0 || this.child !== undefined;
      const blocker =
        isInUse && state.tag !== 'broken'
          ? new UnexpectedRollbackError(
              this.connectionName,
              'unawaited-statements',
              this.failure?.error,
            )
          : this.commitBlocker;
      this.#machine.shut(blocker, this.hasBegun);
    }
    return this.commitBlocker;
  }

  /**
   * Shuts the gate and commits. There is one attempt: whatever comes of it, the transaction is over.
   *
   * @throws {@link UnexpectedRollbackError} a failure forbade the commit, or the server rolled back
   * @throws {@link TransactionTimeoutError} it had been open for too long
   * @throws {@link CommitOutcomeUnknownError} no answer came
   * @throws {@link SessionClosedError} it had ended before
   * @throws the server's own error, when it refused (a deferred constraint, 40001)
   */
  async commit(): Promise<Outcome> {
    const blocker = this.shut();
    if (blocker !== undefined) {
      await this.rollback();
      throw blocker;
    }
    const { effective } = this.#settings;
    return this.#end.commit({
      isReadOnly: this.isReadOnly,
      // A serializable read is only known to be right by its COMMIT.
      mayLoseAnswer: effective.isolationLevel !== 'serializable',
    });
  }

  /**
   * Ends the transaction without saving anything, unless it is committed. Never throws: a connection
   * on which ROLLBACK fails is destroyed, and the server then rolls back by itself.
   */
  async rollback(): Promise<void> {
    this.shut();
    await this.#end.rollback(this.#begin.currentScope?.queue ?? this.#queue);
  }

  #hasEnded(): void {
    this.child?.finish('unknown');
    this.#owner.watch?.ended();
  }
}
