import type { Answer, Lease } from '../connection/lease.js';
import type { Claim } from '../connection/claim.js';
import { InvalidTransactionStateError } from '../errors.js';
import { requested } from '../telemetry/request-trace.js';
import { AsyncScope } from './async-scope.js';
import type { TransactionOwner, TransactionSource } from './begin-plan.js';
import { Begin, type BeginScope, type FirstStatement } from './begin.js';
import { Loan } from './loan.js';
import type { RequestedSettings } from './requested-settings.js';
import type { TransactionPart } from './savepoint.js';
import { SerialQueue } from './serial-queue.js';
import type { StateMachine } from './state-machine.js';
import { leaseOf } from './transaction-state.js';

/** What the statements of a transaction need of it. */
export interface StatementsOf {
  readonly source: TransactionSource;
  readonly owner: TransactionOwner;
  readonly machine: StateMachine;
  readonly settings: RequestedSettings;
  readonly claim: Claim;
}

/** The turn of a piece of work among the others of its transaction. */
interface Turn {
  readonly queue: SerialQueue;
  /** The code of BEGIN that the work is part of. */
  readonly scope: BeginScope | undefined;
  /** Resolves when it has come; `undefined` where nobody else has it. */
  readonly comes: Promise<void> | undefined;
  /** Whether the transaction has not begun yet. */
  readonly mayBeFirst: boolean;
}

/**
 * What is sent in one transaction: one piece of work at a time, each after a look at the gate (F3). The
 * first one begins it (L3).
 */
export class Statements {
  readonly #of: StatementsOf;
  readonly #begin: Begin;
  readonly #queue = new SerialQueue();
  /** The client is lent while this is set, and the code that has it also has the turn. */
  #loan: Loan | undefined;

  constructor(of: StatementsOf) {
    this.#of = of;
    this.#begin = new Begin(of.source, of.owner, of.machine, of.claim);
  }

  /** Whether a statement is under way or waits. Code that has the client itself may wait for others. */
  get isBusy(): boolean {
    return this.#queue.unfinished > 0 && this.#loan === undefined;
  }

  get unfinished(): number {
    return this.#queue.unfinished;
  }

  /** The turns that the calling code takes part in. */
  get currentQueue(): SerialQueue {
    return this.#begin.currentScope?.queue ?? this.#queue;
  }

  /**
   * Refuses what would wait for the turn that the calling code has itself.
   *
   * @throws {@link InvalidTransactionStateError} the calling code is part of a callback of `lend()`
   */
  assertNotLent(what: string): void {
    const loan = this.#loan;
    if (loan !== undefined && AsyncScope.innermost(Loan, (each) => each === loan) && !loan.isOver) {
      throw new InvalidTransactionStateError(
        this.#of.machine.place,
        `${what} was asked for in the callback of withClient(), which it would wait for without end. Use ` +
          'the client of the callback there, or return from it first.',
      );
    }
  }

  /** Begins in its turn. The caller has looked whether it may. */
  async begin(assertOpen: () => void): Promise<void> {
    if (this.#begin.currentScope !== undefined) {
      throw this.#of.owner.planMisused();
    }
    await this.#queue.run(() => {
      assertOpen();
      return this.#begin.run(this.#of.settings.own, undefined);
    });
  }

  /** Sends a statement of a part of this transaction in its turn; the first one begins it (L3, F3). */
  async send(
    part: TransactionPart,
    sql: string,
    values: readonly unknown[],
    onSend?: () => void,
  ): Promise<Answer> {
    const { machine, settings, source } = this.#of;
    const request = requested(machine, sql);
    const turn = this.#takeTurn(part);
    try {
      if (turn.comes !== undefined) {
        await turn.comes;
      }
      const following = request?.followTrace();
      if (following !== undefined) {
        await following;
      }
      if (this.#isFirst(turn)) {
        const answer = await this.#beginFor(turn, part, { part, sql, values, onSend, request });
        if (answer !== undefined) {
          return answer;
        }
      }
      part.assertOpen();
      onSend?.();
      machine.sends(sql);
      const lease = leaseOf(machine.state)!;
      try {
        const answer = await lease.query(sql, values, 'statement', request);
        machine.answered(sql, answer);
        return answer;
      } catch (error) {
        source.onFailure(error, lease.client, settings.isReadOnly);
        throw machine.failed(sql, error);
      }
    } finally {
      this.#endTurn(part, turn);
    }
  }

  /**
   * Runs work of a part of this transaction that has the connection to itself, in its turn as if it were
   * one statement; begins where nothing has begun (L3, F3).
   */
  async exclusively<T>(part: TransactionPart, work: (lease: Lease) => Promise<T>): Promise<T> {
    const turn = this.#takeTurn(part);
    try {
      if (turn.comes !== undefined) {
        await turn.comes;
      }
      if (this.#isFirst(turn)) {
        await this.#beginFor(turn, part, undefined);
      }
      part.assertOpen();
      return await work(leaseOf(this.#of.machine.state)!);
    } finally {
      this.#endTurn(part, turn);
    }
  }

  /** See {@link TransactionPart.lend}. */
  lendTo<T>(part: TransactionPart, callback: (client: object) => T | Promise<T>): Promise<T> {
    return this.exclusively(part, async (lease) => {
      const loan = new Loan(this.#of, part, lease);
      this.#loan = loan;
      try {
        return await loan.run(callback);
      } finally {
        this.#loan = undefined;
      }
    });
  }

  /** Takes a turn, to be ended by `#endTurn()`. */
  #takeTurn(part: TransactionPart): Turn {
    part.assertOpen();
    const scope = this.#begin.currentScope;
    const queue = scope?.queue ?? this.#queue;
    const mayBeFirst = !this.#of.machine.isBegun;
    part.unfinished++;
    return { queue, scope, comes: queue.enter(), mayBeFirst };
  }

  #endTurn(part: TransactionPart, { queue }: Turn): void {
    queue.leave();
    part.unfinished--;
  }

  /** Whether the transaction is to begin for it, now that its turn has come. */
  #isFirst({ mayBeFirst }: Turn): boolean {
    return mayBeFirst && !this.#of.machine.isBegun;
  }

  /** @returns the answer to `first`, if that has been sent */
  #beginFor(
    { scope }: Turn,
    part: TransactionPart,
    first: FirstStatement | undefined,
  ): Promise<Answer | undefined> {
    return scope === undefined ? this.#beginFirst(part, first) : this.#begin.runInside();
  }

  /** @returns `undefined` if the statement is still to be sent, in the transaction that has begun */
  #beginFirst(
    part: TransactionPart,
    first: FirstStatement | undefined,
  ): Promise<Answer | undefined> {
    const { state } = this.#of.machine;
    if (state.tag === 'broken' && !state.hasBegun) {
      // It has waited for a begin that failed, and why that failed is the reason for both.
      throw state.cause.error;
    }
    part.assertOpen();
    const { owner, settings, source } = this.#of;
    const mayReadAhead =
      first?.values.length === 0 &&
      owner.mayReadAhead(settings.effective) &&
      source.server.isPlainRead(first.sql, source.knownCode.names);
    return mayReadAhead
      ? this.#readAhead(part, first)
      : // Without a promise of its own, which would wait with each request that waits for a connection.
        this.#begin.run(settings.own, first);
  }

  async #readAhead(part: TransactionPart, first: FirstStatement): Promise<Answer | undefined> {
    const { settings } = this.#of;
    const answer = await this.#begin.readAhead(settings.own, first);
    if (answer !== undefined) {
      return answer;
    }
    part.assertOpen();
    return this.#begin.run(settings.own, first);
  }
}
