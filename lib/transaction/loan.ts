import type { Answer, Lease } from '../connection/lease.js';
import { isQuietWithin } from '../connection/quiet-client.js';
import { InvalidTransactionStateError, SessionClosedError } from '../errors.js';
import { LentClient, type LendableClient, type Lender } from '../postgresql/lent-client.js';
import type { OnSend, PgClient } from '../postgresql/pg-client.js';
import { AsyncScope } from './async-scope.js';
import type { TransactionOwner, TransactionSource } from './begin-plan.js';
import type { TransactionPart } from './savepoint.js';
import type { StateMachine } from './state-machine.js';
import { leaseOf, refusalOf, type Failure } from './transaction-state.js';
import { whileOpen } from './while-open.js';

/** What a loan needs of the transaction whose client it lends. */
export interface LoanSource {
  readonly source: TransactionSource;
  readonly owner: TransactionOwner;
  readonly machine: StateMachine;
  readonly settings: { readonly isReadOnly: boolean };
}

/**
 * The client of a transaction, lent to code of the application that has its turn: what the session
 * would do with a statement of its own (the gate, failures, the end by a plain COMMIT, the log) is done
 * with each query. The code runs inside of this scope, since a statement of the session would wait there
 * for the turn that the code itself has.
 */
export class Loan extends AsyncScope implements Lender {
  readonly #of: LoanSource;
  readonly #part: TransactionPart;
  readonly #lease: Lease;
  #onSend: OnSend | undefined;

  constructor(of: LoanSource, part: TransactionPart, lease: Lease) {
    super();
    this.#of = of;
    this.#part = part;
    this.#lease = lease;
  }

  /**
   * Runs `callback` with the client, for as long as the transaction is open.
   *
   * @throws what `callback` throws, or why the transaction is over
   * @throws {@link InvalidTransactionStateError} the client was still at work as `callback` returned
   */
  run<T>(callback: (client: object) => T | Promise<T>): Promise<T> {
    return this.#lease.lend(async (client, onSend) => {
      this.#onSend = onSend;
      const lent = new LentClient(client as LendableClient, this);
      const work = this.during(async () => callback(lent.standIn));
      const [ended] = await Promise.allSettled([whileOpen(this.#of.machine, this.#name, work)]);
      // The gate may have shut under the callback, which then has the client no longer.
      this.isOver = true;
      const unanswered = lent.takeBack();
      const isUnawaited = ended.status === 'fulfilled' && unanswered > 0;
      const misuse = await this.#judge(client, lent, isUnawaited);
      if (ended.status === 'rejected') {
        throw ended.reason;
      }
      if (misuse !== undefined) {
        throw misuse;
      }
      return ended.value;
    });
  }

  /** See {@link Lender.assertOpen}: the gate stands between each query and the client (F3). */
  assertOpen(): void {
    const refusal = refusalOf(this.#of.machine.state, this.#name);
    if (refusal !== undefined || !this.#part.isOpen) {
      throw refusal ?? new SessionClosedError(this.#name);
    }
  }

  /** See {@link Lender.isBack}. */
  get isBack(): Error {
    return new SessionClosedError(this.#name, 'withClient()');
  }

  /** See {@link Lender.refusal}. */
  refusal(call: string, advice: string): Error {
    return new InvalidTransactionStateError(
      this.#name,
      `${call} was called on the client of withClient(). ${advice}`,
    );
  }

  /** See {@link Lender.sends}. */
  sends(sql: string, values: readonly unknown[]): void {
    this.#onSend?.(sql, values);
    this.#of.owner.watch?.sent(sql);
    this.#lease.notes(sql);
    this.#of.machine.sends(sql);
  }

  /** See {@link Lender.answered}. */
  answered(sql: string, answer: Answer | undefined, tookMs: number, failure: Failure): void {
    const { machine, owner, source } = this.#of;
    if (answer === undefined) {
      machine.returned(sql, failure);
    } else {
      machine.answered(sql, answer);
    }
    owner.watch?.answered();
    source.onStatement(sql, tookMs);
  }

  /** See {@link Lender.failed}. */
  failed(sql: string, error: unknown): void {
    const { machine, owner, settings, source } = this.#of;
    owner.watch?.answered();
    source.onFailure(error, this.#lease.client, settings.isReadOnly);
    machine.failed(sql, error);
  }

  /**
   * Finds out what has become of the transaction (F4). A client that cannot be used any more is
   * destroyed, since no ROLLBACK could reach the server on it.
   *
   * @returns why it cannot be used any more
   */
  async #judge(
    client: PgClient,
    lent: LentClient,
    isUnawaited: boolean,
  ): Promise<Error | undefined> {
    const { machine, source } = this.#of;
    if (leaseOf(machine.state) !== this.#lease) {
      return undefined;
    }
    if (!isUnawaited && (await isQuietWithin(client, source.limits.drainTimeoutMs))) {
      machine.returned('', lent.failure);
      return undefined;
    }
    const misuse = new InvalidTransactionStateError(
      this.#name,
      'the callback of withClient() has returned, and its client was still at work, so the connection ' +
        'was closed and nothing is saved. Await every query, end or destroy every copy, and close every ' +
        'cursor before the callback returns.',
    );
    machine.connectionFailed(this.#lease, misuse);
    return misuse;
  }

  get #name(): string {
    return this.#of.source.name;
  }
}
