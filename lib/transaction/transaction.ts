import type { Answer } from '../connection/lease.js';
import type { Claim, Holder } from '../connection/claim.js';
import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  type DbContextError,
  type ErrorPlace,
} from '../errors.js';
import type { Outcome } from '../outcome.js';
import type { EventSource } from '../telemetry/operation-events.js';
import type { TransactionInfo } from '../telemetry/payloads.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import type { TransactionOwner, TransactionSource } from './begin-plan.js';
import { End } from './end.js';
import { RequestedSettings } from './requested-settings.js';
import { TransactionPart } from './savepoint.js';
import type { Server } from './server.js';
import { StateMachine } from './state-machine.js';
import { Statements } from './statements.js';
import { failureOf, hasBegun, leaseOf } from './transaction-state.js';
import type { Failure, ShutReason } from './transaction-state.js';
import { whileOpen } from './while-open.js';
import type { WholeTransaction } from './whole-transaction.js';

/**
 * One transaction on one connection, from its first statement to its verified end.
 *
 * - L3, F3: nothing is taken before the first statement, and that begins it; they go one at a time, each
 *   after a look at the gate: {@link Statements}. That shuts synchronously, before any end: `shut()`.
 * - F4: what has failed forbids the commit: {@link StateMachine}.
 * - F1: it ends once, and a second end waits for the first: {@link End}.
 */
export class Transaction
  extends TransactionPart
  implements WholeTransaction<TransactionPart>, Claim
{
  readonly #source: TransactionSource;
  readonly #owner: TransactionOwner;
  readonly #machine: StateMachine;
  /** Both made when they are first needed: a session that nobody uses needs neither. */
  #lazyStatements: Statements | undefined;
  #lazyEnd: End | undefined;
  /** How many calls of `limit()` are under way. */
  #limited = 0;
  readonly #settings: RequestedSettings;

  /** @param settings win over those of the connection */
  constructor(source: TransactionSource, owner: TransactionOwner, settings: TransactionSettings) {
    super();
    this.#source = source;
    this.#owner = owner;
    this.#settings = new RequestedSettings(source.transactionOptions.transaction, settings);
    this.#machine = new StateMachine(source, owner, this);
  }

  get #statements(): Statements {
    this.#lazyStatements ??= new Statements({
      source: this.#source,
      owner: this.#owner,
      machine: this.#machine,
      settings: this.#settings,
      claim: this,
    });
    return this.#lazyStatements;
  }

  get #end(): End {
    return (this.#lazyEnd ??= new End(this.#source, this.#owner, this.#machine));
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

  override get place(): ErrorPlace {
    return this.#machine.place;
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

  /** See {@link Claim.source}. */
  get source(): EventSource {
    return this.#machine;
  }

  /** See {@link WholeTransaction.telemetry}. */
  get telemetry(): TransactionInfo | undefined {
    return this.#machine.transactionInfo;
  }

  /** See {@link Claim.isBusy}. */
  get isBusy(): boolean {
    return this.isShut || this.#lazyStatements?.isBusy === true;
  }

  /** Whether it is, or will be, read-only. */
  get isReadOnly(): boolean {
    return this.#settings.isReadOnly;
  }

  /** See {@link Claim.mayReadReplica}. A standby knows no serializable transactions. */
  get mayReadReplica(): boolean {
    return this.isReadOnly && this.#settings.effective.isolationLevel !== 'serializable';
  }

  /** Whether a connection was asked for, so that there is something to end. */
  get hasBegun(): boolean {
    return hasBegun(this.#machine.state);
  }

  /** Whether none of its statements can have written, by their texts. */
  get hasOnlyRead(): boolean {
    return this.#machine.hasOnlyRead();
  }

  /** Whether it may have written, as far as that can be found out. Never throws. */
  async mayHaveWritten(): Promise<boolean> {
    return !this.isReadOnly && !(await this.#end.hasOnlyRead());
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
    return new Promise((resolve) => void this.#machine.whenShut(resolve));
  }

  override assertOpen(): void {
    const { refusal } = this.#machine;
    if (refusal instanceof SessionClosedError) {
      this.holder?.refused?.(refusal);
    }
    if (refusal !== undefined) {
      throw refusal;
    }
    this.assertNotLent('a statement of the session');
  }

  /** See {@link Statements.assertNotLent}. */
  assertNotLent(what: string): void {
    this.#lazyStatements?.assertNotLent(what);
  }

  /**
   * Limits work that can hang before its first statement (F6).
   *
   * @throws what `work` throws, or why the transaction is over
   */
  async limit<T>(work: Promise<T>): Promise<T> {
    this.#machine.deadline.start();
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
    return whileOpen(this.#machine, work);
  }

  /**
   * Makes the transaction begin with these settings, when it does.
   *
   * @throws {@link InvalidTransactionStateError} it has begun with others
   */
  demand(settings: TransactionSettings): void {
    this.#settings.demand(settings, this.#machine.state, this.place);
  }

  /**
   * Begins now rather than with the first statement.
   *
   * @throws {@link InvalidTransactionStateError} it has begun already
   */
  async begin(settings: TransactionSettings): Promise<void> {
    if (this.hasBegun) {
      throw new InvalidTransactionStateError(
        this.place,
        'begin() was called and the transaction has begun already. Use em.transactional() for a ' +
          'savepoint, or commit() first.',
      );
    }
    this.demand(settings);
    await this.#statements.begin(() => this.assertOpen());
  }

  /** See {@link Statements.send}. */
  send(
    part: TransactionPart,
    sql: string,
    values: readonly unknown[],
    onSend?: () => void,
  ): Promise<Answer> {
    return this.#statements.send(part, sql, values, onSend);
  }

  /** See {@link TransactionPart.lend}. */
  lendTo<T>(part: TransactionPart, callback: (client: object) => T | Promise<T>): Promise<T> {
    return this.#statements.lendTo(part, callback);
  }

  /** Cancels the statement in flight; it fails with the server's error 57014. */
  cancel(): void {
    leaseOf(this.#machine.state)?.cancel();
  }

  /** See {@link Claim.whenOver}. */
  whenOver(leave: (reason: Error) => void): () => void {
    return this.#machine.whenShut(() => leave(this.#machine.refusal!));
  }

  /** See {@link StateMachine.kill}. */
  kill(reason: Error): void {
    this.#machine.kill(reason);
  }

  /**
   * Shuts the gate, synchronously: from here on no statement is sent but those that end the
   * transaction (F3). May be called again.
   *
   * @param reason why it cannot be committed if it is in use
   * @returns why the transaction cannot be committed, if it cannot
   */
  shut(reason: ShutReason = 'unawaited-statements'): DbContextError | undefined {
    const { state } = this.#machine;
    if (this.isOpen) {
      const isInUse = this.#hasUnanswered || this.unfinished > 0 || this.child !== undefined;
      if (isInUse) {
        this.holder?.endsUnfinished?.();
      }
      const blocker =
        isInUse && state.tag !== 'broken'
          ? new UnexpectedRollbackError(
              this.place,
              reason,
              this.failure?.error,
              reason === 'context-ended' ? this.holder?.endCause : undefined,
            )
          : this.commitBlocker;
      this.#machine.shut(blocker, this.hasBegun);
    }
    return this.commitBlocker;
  }

  /**
   * Shuts the gate and commits. There is one attempt, and the transaction is over after it, also when it fails.
   *
   * @throws {@link UnexpectedRollbackError} a failure forbade the commit, or the server rolled back
   * @throws {@link TransactionTimeoutError} it had been open for too long
   * @throws {@link CommitOutcomeUnknownError} no answer came
   * @throws {@link SessionClosedError} it had ended before
   * @throws the server's own error, when it refused (a deferred constraint, 40001)
   */
  commit(): Promise<Outcome> {
    const blocker = this.shut();
    if (blocker !== undefined) {
      return this.#refuse(blocker);
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
    await this.#end.rollback(this.#statements.currentQueue);
  }

  get #hasUnanswered(): boolean {
    return this.#lazyStatements !== undefined && this.#lazyStatements.unfinished > 0;
  }

  async #refuse(blocker: DbContextError): Promise<never> {
    await this.rollback();
    throw blocker;
  }

  /** It has given its connection up for good, and what is open in it is over. */
  hasEnded(): void {
    this.child?.finish('unknown');
  }
}
