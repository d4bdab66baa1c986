import type { Answer, Lease } from '../connection/lease.js';
import { tracedLoan } from '../telemetry/acquire-trace.js';
import { lend } from '../telemetry/channels.js';
import { requested } from '../telemetry/request-trace.js';
import type { SentStatement } from '../telemetry/statement-trace.js';
import { isQuietWithin } from '../connection/quiet-client.js';
import {
  InvalidTransactionStateError,
  SessionClosedError,
  TransactionAbortedError,
  type ErrorPlace,
} from '../errors.js';
import type { Lender } from '../postgresql/lender.js';
import type { LendableClient } from '../postgresql/lendable-client.js';
import { LentClient } from '../postgresql/lent-client.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';
import { AsyncScope } from './async-scope.js';
import type { TransactionOwner, TransactionSource } from './begin-plan.js';
import type { TransactionPart } from './savepoint.js';
import type { StateMachine } from './state-machine.js';
import { leaseOf, outranked, type Failure } from './transaction-state.js';
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
  /** The query under way, where somebody listens. */
  #sent: SentStatement | undefined;

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
      const call = (): Promise<T> => this.during(async () => callback(lent.standIn));
      const origin = lend.hasSubscribers ? this.#of.machine.telemetry : undefined;
      const work = origin === undefined ? call() : tracedLoan(origin, call);
      const [ended] = await Promise.allSettled([whileOpen(this.#of.machine, work)]);
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
    const refusal = this.#of.machine.refusal;
    if (refusal !== undefined || !this.#part.isOpen) {
      throw this.#refused(refusal ?? new SessionClosedError(this.#place, 'transactional()'));
    }
  }

  /** See {@link Lender.closed}. */
  closed(cause?: unknown): Error {
    const end =
      cause === undefined ? {} : { brokenOff: { cause: outranked(this.#of.machine.state, cause) } };
    return this.#refused(new SessionClosedError(this.#place, 'withClient()', end));
  }

  /** See {@link Lender.unheard}: as a rejection that nobody handles is reported (S5). */
  unheard(error: unknown): void {
    if (this.#of.owner.holder?.refused !== undefined) {
      // oxlint-disable-next-line promise/no-promise-in-callback -- nobody is to handle it
      void Promise.reject(isOwnRefusal(error) ? error : this.closed(error));
    }
  }

  /** What is refused may be awaited by nobody (S5). */
  #refused(refusal: Error): Error {
    if (isOwnRefusal(refusal)) {
      this.#of.owner.holder?.refused?.(refusal);
    }
    return refusal;
  }

  /** See {@link Lender.refusal}. */
  refusal(call: string, advice: string): Error {
    return new InvalidTransactionStateError(
      this.#place,
      `${call} was called on the client of withClient(). ${advice}`,
    );
  }

  /** See {@link Lender.sends}. */
  sends(sql: string, values: readonly unknown[]): void {
    this.#onSend?.(sql, values);
    const request = requested(this.#of.machine, sql);
    this.#lease.notes(sql);
    this.#of.machine.sends(sql);
    this.#sent = this.#lease.announces(sql, values, request);
  }

  /** See {@link Lender.handOver}. */
  handOver(query: { send(): void }): void {
    if (this.#sent === undefined) {
      query.send();
    } else {
      this.#sent.handOver(() => query.send());
    }
  }

  /** See {@link Lender.answered}. */
  answered(sql: string, answer: Answer, tookMs: number): void {
    this.#sent?.succeeded(answer);
    this.#of.machine.answered(sql, answer);
    this.#of.source.onStatement(sql, tookMs);
  }

  /** See {@link Lender.returned}. */
  returned(sql: string, tags: PgResult[], tookMs: number, failure: Failure): void {
    this.#sent?.succeeded(tags);
    this.#of.machine.returned(sql, tags, failure);
    this.#of.source.onStatement(sql, tookMs);
  }

  /** See {@link Lender.failed}. */
  failed(sql: string, error: unknown): void {
    this.#sent?.failed(error);
    const { machine, settings, source } = this.#of;
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
      machine.returned('', [], lent.failure);
      return undefined;
    }
    const misuse = new InvalidTransactionStateError(
      this.#place,
      'the callback of withClient() has returned, and its client was still at work, so the connection ' +
        'was closed and nothing is saved. Await every query, end or destroy every copy, and close every ' +
        'cursor before the callback returns.',
    );
    machine.connectionFailed(this.#lease, misuse);
    return misuse;
  }

  get #place(): ErrorPlace {
    return this.#of.machine.place;
  }
}

/** Why a transaction has timed out is one error instead, which others throw as well. */
function isOwnRefusal(error: unknown): error is Error {
  return error instanceof SessionClosedError || error instanceof TransactionAbortedError;
}
