import { Lease, type Answer, type RequestedStatement } from '../connection/lease.js';
import type { Claim } from '../connection/claim.js';
import { millisecondsSince } from '../connection/time-limit.js';
import type { PgClient } from '../postgresql/pg-client.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import { ProtocolViolationError } from '../errors.js';
import { askHiddenCode } from './ask-hidden-code.js';
import { AsyncScope } from './async-scope.js';
import type { BeginPlan, TransactionOwner, TransactionSource } from './begin-plan.js';
import type { TransactionPart } from './savepoint.js';
import { SerialQueue } from './serial-queue.js';
import type { StateMachine } from './state-machine.js';
import { readOn } from './transaction-end.js';
import { whileOpen } from './while-open.js';

/** The statement that a transaction begins for. */
export interface FirstStatement extends RequestedStatement {
  readonly part: TransactionPart;
  readonly values: readonly unknown[];
  readonly onSend: (() => void) | undefined;
}

/** Code that a begin waits for: its statements must not wait for the begin. */
export class BeginScope extends AsyncScope {
  readonly begin: Begin;
  #queue: SerialQueue | undefined;

  constructor(begin: Begin) {
    super();
    this.begin = begin;
  }

  /** The turns of its statements among one another; hardly any has some. */
  get queue(): SerialQueue {
    return (this.#queue ??= new SerialQueue());
  }
}

/** Takes a connection and begins one transaction on it. Its caller has the turn (F5). */
export class Begin {
  readonly #source: TransactionSource;
  readonly #owner: TransactionOwner;
  readonly #machine: StateMachine;
  readonly #claim: Claim;

  constructor(
    source: TransactionSource,
    owner: TransactionOwner,
    machine: StateMachine,
    claim: Claim,
  ) {
    this.#source = source;
    this.#owner = owner;
    this.#machine = machine;
    this.#claim = claim;
  }

  /** The code of this begin that the calling code is part of. */
  get currentScope(): BeginScope | undefined {
    return AsyncScope.isEmpty
      ? undefined
      : AsyncScope.innermost(BeginScope, (scope) => !scope.isOver && scope.begin === this);
  }

  /**
   * Begins.
   *
   * @param first the statement that it begins for
   * @returns the answer to `first`, where that has left with BEGIN
   */
  async run(
    settings: TransactionSettings,
    first: FirstStatement | undefined,
  ): Promise<Answer | undefined> {
    const scope = new BeginScope(this);
    this.#machine.begin();
    try {
      const prepared = this.#prepare(scope, settings);
      const plan = prepared instanceof Promise ? await prepared : prepared;
      // A subscriber may have sent a statement, which has begun it.
      if (this.#machine.state.tag === 'beginning') {
        const lease = await this.#acquire();
        // A message of several statements takes no parameters.
        if (first?.values.length === 0 && plan.after === undefined) {
          const answer = await this.#sendWith(lease, plan, first);
          if (answer !== undefined) {
            return answer;
          }
        }
        await this.#send(lease, plan);
      }
      if (plan.after !== undefined) {
        await this.#orBreak(this.#whileOpen(scope.enter(plan.after)));
      }
      return undefined;
    } finally {
      scope.isOver = true;
    }
  }

  /** Begins for a statement of code that the begin waits for. */
  async runInside(): Promise<undefined> {
    const { state } = this.#machine;
    if (state.tag === 'idle' || (state.tag === 'beginning' && state.plan === undefined)) {
      throw this.#owner.planMisused();
    }
    if (state.tag === 'beginning') {
      await this.#send(await this.#acquire(), state.plan!);
    }
  }

  /**
   * Sends a read in a transaction of its own, before the first write.
   *
   * @returns `undefined` if it has to be sent in the transaction itself; nothing of it has run then
   */
  async readAhead(
    settings: TransactionSettings,
    first: FirstStatement,
  ): Promise<Answer | undefined> {
    const { part, sql, onSend } = first;
    const judgedBy = this.#source.knownCode.names;
    const begin = this.#owner.plansAlone
      ? await this.#owner.planOfRead(settings)
      : await this.#whileOpen(
          new BeginScope(this).during(async () => this.#owner.planOfRead(settings)),
        );
    this.#machine.asksToRead();
    const lease = await this.#take(
      (taken) => this.#machine.reading(taken),
      (error) => error,
    );
    const { knownCode, server } = this.#source;
    try {
      knownCode.names ??= await askHiddenCode(lease, this.#source, this.#machine.place);
      const { names } = knownCode;
      // Another read may have asked for the names while this one waited for its connection.
      if (names === undefined || (names !== judgedBy && !server.isPlainRead(sql, names))) {
        return undefined;
      }
      part.assertOpen();
      onSend?.();
      return await readOn(lease, this.#source, begin, first, this.#machine);
    } catch (error) {
      if (server.hasTriedToWrite(error)) {
        return undefined;
      }
      this.#source.onFailure(error, lease.client, true);
      throw this.#machine.failed(sql, error);
    } finally {
      lease.giveBack();
      this.#machine.hasRead();
    }
  }

  /** Settles how it begins, and runs what comes before; at once where nothing is to be waited for. */
  #prepare(scope: BeginScope, settings: TransactionSettings): BeginPlan | Promise<BeginPlan> {
    let plan: BeginPlan | Promise<BeginPlan>;
    try {
      plan = this.#owner.plansAlone
        ? this.#owner.plan(settings)
        : scope.enter(() => this.#owner.plan(settings));
    } catch (error) {
      throw this.#machine.notBegun(error);
    }
    if (plan instanceof Promise || plan.before !== undefined) {
      return this.#orBreak(this.#whileOpen(this.#prepareLater(scope, plan)));
    }
    this.#machine.planned(plan);
    return plan;
  }

  async #prepareLater(
    scope: BeginScope,
    planned: BeginPlan | Promise<BeginPlan>,
  ): Promise<BeginPlan> {
    const plan = await planned;
    if (this.#machine.state.tag === 'beginning') {
      this.#machine.planned(plan);
      await scope.enter(() => plan.before?.());
    }
    return plan;
  }

  #acquire(): Promise<Lease> {
    return this.#take(
      (lease) => this.#machine.acquired(lease),
      (error) => this.#machine.notBegun(error),
    );
  }

  /**
   * Takes a connection, for `transactionTimeoutMs` at most from then on (F6).
   *
   * @param note called in the same turn, so that nobody ends the transaction without its connection
   * @param failed makes what is thrown of what has failed
   */
  async #take(note: (lease: Lease) => void, failed: (error: unknown) => unknown): Promise<Lease> {
    const machine = this.#machine;
    const hasRun = machine.deadline.pause();
    let client: PgClient;
    try {
      client = await this.#source.checkOut(this.#claim);
    } catch (error) {
      machine.deadline.resume(hasRun);
      machine.cannotRead();
      throw failed(error);
    }
    if (!machine.isOpen) {
      client.release();
      throw failed(machine.refusal!);
    }
    const lease: Lease = new Lease(
      client,
      (error) => machine.connectionFailed(lease, error),
      this.#source.sessionReset,
      machine,
    );
    machine.deadline.restart();
    note(lease);
    return lease;
  }

  /** Sends what begins it by itself. */
  async #send(lease: Lease, plan: BeginPlan): Promise<void> {
    for (const { sql, values } of plan.statements) {
      const startedAt = performance.now();
      this.#assertOpen();
      const answer = await this.#orBreak(lease.query(sql, values, 'begin'));
      if (this.#source.server.isUnanswered(sql, answer)) {
        throw this.#machine.notBegun(new ProtocolViolationError(this.#machine.place));
      }
      this.#source.onStatement(sql, millisecondsSince(startedAt));
    }
    this.#machine.begun(lease, plan);
  }

  /**
   * Sends what begins it and its first statement as one message.
   *
   * @returns `undefined` if nothing of it has run, so that each has to be sent by itself
   */
  async #sendWith(
    lease: Lease,
    plan: BeginPlan,
    first: FirstStatement,
  ): Promise<Answer | undefined> {
    const { part, sql, onSend } = first;
    try {
      part.assertOpen();
      onSend?.();
    } catch {
      // It is asked again, and refused, when it comes by itself.
      return undefined;
    }
    const { server } = this.#source;
    const { client } = lease;
    const message = server.combine(client, plan.statements, sql);
    const startedAt = performance.now();
    let answer: Answer;
    try {
      answer = await lease.sendMessage(message, first);
    } catch (error) {
      if (!message.hasBegun && server.isRefusal(error) && !server.endsConnection(error)) {
        return undefined;
      }
      this.#noteSent(lease, plan, sql, startedAt);
      this.#source.onFailure(error, client, plan.settings.readOnly === true);
      throw this.#machine.failed(sql, error);
    }
    this.#noteSent(lease, plan, sql, startedAt);
    this.#machine.answered(sql, answer);
    return answer;
  }

  #noteSent(lease: Lease, plan: BeginPlan, sql: string, startedAt: number): void {
    this.#machine.begun(lease, plan);
    for (const each of plan.statements) {
      this.#source.onStatement(each.sql, millisecondsSince(startedAt));
    }
    this.#machine.sends(sql);
  }

  #assertOpen(): void {
    const { refusal } = this.#machine;
    if (refusal !== undefined) {
      throw refusal;
    }
  }

  #whileOpen<T>(work: Promise<T>): Promise<T> {
    return whileOpen(this.#machine, work);
  }

  async #orBreak<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw this.#machine.notBegun(error);
    }
  }
}
