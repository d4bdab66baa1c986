import { placeOf } from '../connection/claim.js';
import type { Answer, Lease } from '../connection/lease.js';
import {
  ProtocolViolationError,
  TransactionAbortedError,
  TransactionTimeoutError,
  type DbContextError,
  type ErrorPlace,
} from '../errors.js';
import type { Outcome } from '../outcome.js';
import type { HiddenCode } from '../postgresql/hidden-code.js';
import type { EventOrigin, EventSource } from '../telemetry/operation-events.js';
import { UseTelemetry } from '../telemetry/use-telemetry.js';
import {
  limitOf,
  type BeginPlan,
  type TransactionOwner,
  type TransactionSource,
} from './begin-plan.js';
import { Deadline } from './deadline.js';
import { SentStatements } from './sent-statements.js';
import { isTransactionObserved, TransactionTelemetry } from './transaction-telemetry.js';
import {
  commitBlockerOf,
  endedByStatement,
  isOpen,
  leaseOf,
  mayBeEndedByStatement,
  outranked,
  refusalOf,
  type Failure,
  type TransactionState,
} from './transaction-state.js';

/** What a state is the state of. */
interface Ended {
  /** Called once, as the transaction gives its connection up for good. */
  hasEnded(): void;
}

/** One for all: as long as nobody uses a session, its transaction is no more than this. */
const IDLE: TransactionState = { tag: 'idle' };

/** The state of one transaction. Nothing else writes it; it sends nothing, and is given the answers. */
export class StateMachine implements EventSource {
  readonly #source: TransactionSource;
  readonly #owner: TransactionOwner;
  readonly #timeoutMs: number;
  #deadline: Deadline | undefined;
  readonly #transaction: Ended;
  #current: TransactionState = IDLE;
  #telemetry: TransactionTelemetry | undefined;
  /** The read ahead that is under way, where somebody listens. */
  #read: UseTelemetry | undefined;
  /** Called as the gate shuts; made for the first one. */
  #onShut: Set<() => void> | undefined;
  #destroyed: Promise<void> | undefined;
  /** Made with the first statement. */
  #sent: SentStatements | undefined;

  constructor(source: TransactionSource, owner: TransactionOwner, transaction: Ended) {
    this.#source = source;
    this.#owner = owner;
    this.#timeoutMs = limitOf(source, owner);
    this.#transaction = transaction;
  }

  get state(): TransactionState {
    return this.#state;
  }

  get #state(): TransactionState {
    return this.#current;
  }

  /** The one place that moves it, and so the one that shows each move to those who listen (O1). */
  set #state(next: TransactionState) {
    const before = this.#current;
    this.#current = next;
    if (isTransactionObserved()) {
      this.transactionInfo?.moved(before, next);
    }
  }

  /** See {@link EventSource.telemetry}; made where somebody listens. A read ahead is in a transaction of its own. */
  get telemetry(): EventOrigin | undefined {
    const info = this.transactionInfo;
    if (info === undefined || this.#state.tag !== 'reading') {
      return info;
    }
    return (this.#read ??= new UseTelemetry({ kind: 'read' }, info));
  }

  /** What events call the transaction; made where somebody listens. */
  get transactionInfo(): TransactionTelemetry | undefined {
    const { telemetry } = this.#source;
    if (telemetry !== undefined) {
      this.#telemetry ??= new TransactionTelemetry(telemetry, this.#owner.holder, this);
    }
    return this.#telemetry;
  }

  /** Its limit; made by those who start it. */
  get deadline(): Deadline {
    return (this.#deadline ??= new Deadline(this, this.#timeoutMs));
  }

  get isOpen(): boolean {
    return isOpen(this.#state);
  }

  /** Whether the server has begun it, and it has not ended. */
  get isBegun(): boolean {
    return this.#state.tag === 'open';
  }

  /** Where its errors happen. */
  get place(): ErrorPlace {
    return placeOf(this.#source.name, this.#owner.holder);
  }

  /** Why a statement is refused now, if it is. */
  get refusal(): Error | undefined {
    return refusalOf(this.#state, this, this.#owner.holder?.endCause);
  }

  /** Why the transaction cannot be committed as it is now. */
  get commitBlocker(): DbContextError | undefined {
    return commitBlockerOf(this.#state, this);
  }

  /** Resolves when the cancel request for a connection that was given up has left. */
  get destroyed(): Promise<void> | undefined {
    return this.#destroyed;
  }

  /** Calls `listener` as the gate shuts; soon, where it is shut. @returns a function that forgets it */
  whenShut(listener: () => void): () => void {
    if (this.isOpen) {
      this.#onShut ??= new Set();
      this.#onShut.add(listener);
    } else {
      queueMicrotask(listener);
    }
    return () => void this.#onShut?.delete(listener);
  }

  /** The time of the whole transaction is over (F6). */
  isOverdue(): void {
    const { obstacle } = this.#owner.holder ?? {};
    this.kill(new TransactionTimeoutError(this.place, this.#timeoutMs, obstacle));
  }

  /** Ends the limit of work that has come to no statement. */
  stopIdleDeadline(): void {
    if (this.#state.tag === 'idle') {
      this.#deadline?.stop();
    }
  }

  /** Somebody has asked for the first statement. */
  begin(): void {
    this.#state = { tag: 'beginning', plan: undefined, lease: undefined };
  }

  /** How it begins is settled. */
  planned(plan: BeginPlan): void {
    this.#state = { tag: 'beginning', plan, lease: undefined };
  }

  /** The pool has given a connection, to begin on. */
  acquired(lease: Lease): void {
    if (this.#state.tag === 'beginning') {
      this.#state = { ...this.#state, lease };
    }
  }

  /** The server has begun it. */
  begun(lease: Lease, plan: BeginPlan): void {
    if (this.#state.tag === 'beginning') {
      this.#state = { tag: 'open', plan, lease, failure: undefined };
    }
  }

  /**
   * It could not begin.
   *
   * @returns what is to be thrown
   */
  notBegun(error: unknown): unknown {
    if (this.#state.tag === 'beginning' || this.#state.tag === 'open') {
      this.#break(error, false);
    }
    return outranked(this.#state, error);
  }

  /** A read before the first write asks for a connection, for a transaction of its own. */
  asksToRead(): void {
    if (this.#state.tag === 'idle') {
      this.#read = undefined;
      this.#state = { tag: 'reading', lease: undefined };
    }
  }

  /** It has got one. */
  reading(lease: Lease): void {
    this.#read?.servedBy(lease.client);
    this.#state = { tag: 'reading', lease };
  }

  /** It has got none. */
  cannotRead(): void {
    if (this.#state.tag === 'reading') {
      this.#state = IDLE;
    }
  }

  /** Such a read has ended, and its connection is given back. */
  hasRead(): void {
    if (this.#state.tag === 'reading') {
      this.#state = IDLE;
      this.#deadline?.stop();
    } else if (this.#state.tag === 'shut') {
      this.#state = { ...this.#state, lease: undefined };
    }
  }

  /** A statement is about to be sent. */
  sends(sql: string): void {
    this.#sent ??= new SentStatements(this.#source.server);
    this.#sent.add(sql);
  }

  /**
   * Whether no statement can have written, so that there is nothing that a lost COMMIT could lose.
   *
   * @param hidden the names behind which code may hide; by default only the texts are judged
   */
  hasOnlyRead(hidden?: HiddenCode): boolean {
    return this.#sent === undefined || this.#sent.areReads(hidden);
  }

  /**
   * The server has answered a statement: that may have undone a failure, or ended the transaction (F4).
   *
   * @throws {@link ProtocolViolationError} it has not: what it says next would be taken for something else
   */
  answered(sql: string, answer: Answer): void {
    const state = this.#state;
    if (this.#source.server.isUnanswered(sql, answer)) {
      const error = new ProtocolViolationError(this.place);
      if (state.tag === 'open') {
        this.#break(error);
      }
      throw outranked(this.#state, error);
    }
    if (state.tag !== 'open') {
      return;
    }
    const { status } = state.lease;
    if (status === 'I' || this.#source.server.isEnd(sql, answer)) {
      this.#break(endedByStatement(this.place, this.#source.server, answer));
    } else if (state.failure !== undefined && status === 'T') {
      this.#state = { ...state, failure: undefined };
    }
  }

  /**
   * Something was sent whose answer nobody has seen; its text, its tags and the status tell what came of it
   * (F4).
   *
   * @param tags a result for each command tag that the server has sent
   * @param failure why the transaction has failed, if it has and nothing is known to have failed before
   */
  returned(sql: string, tags: Answer, failure: Failure): void {
    const state = this.#state;
    if (state.tag !== 'open') {
      return;
    }
    const { status } = state.lease;
    const { server } = this.#source;
    if (status === 'I' || server.mayHaveEnded(sql) || server.isEnd(sql, tags)) {
      this.#break(endedByStatement(this.place, server, tags));
    } else {
      this.#state = { ...state, failure: status === 'E' ? (state.failure ?? failure) : undefined };
    }
  }

  /**
   * A statement has failed (F4).
   *
   * @returns what is to be thrown for it
   */
  failed(sql: string, error: unknown): unknown {
    const state = this.#state;
    if (state.tag !== 'open') {
      return outranked(this.#state, error);
    }
    const { server } = this.#source;
    const { failure = { error } } = state;
    if (!server.isRefusal(error) || server.endsConnection(error)) {
      this.#break(error);
    } else if (server.mayHaveEnded(sql)) {
      const ended = mayBeEndedByStatement(this.place, error);
      this.#break(ended);
      return ended;
    } else {
      this.#state = { ...state, failure };
    }
    return failure.error !== error && server.isAborted(error)
      ? new TransactionAbortedError(this.place, failure.error, true)
      : outranked(this.#state, error);
  }

  /** The connection has failed while no statement was under way. */
  connectionFailed(lease: Lease, error: Error): void {
    const state = this.#state;
    if (leaseOf(state) !== lease) {
      return;
    }
    if (state.tag === 'shut') {
      const broken = { tag: 'broken', cause: { error }, hasBegun: true } as const;
      const blocker = state.blocker ?? commitBlockerOf(broken, this);
      this.#state = { ...state, lease: undefined, blocker };
      this.#destroyed = lease.destroy();
    } else if (state.tag !== 'reading') {
      this.#break(error);
    }
  }

  /** Shuts the gate, synchronously (F3). */
  shut(blocker: DbContextError | undefined, hasBegun: boolean): void {
    this.#state = { tag: 'shut', lease: leaseOf(this.#state), hasBegun, blocker };
    this.#callListeners();
  }

  /** COMMIT or ROLLBACK is about to be sent; both have a limit of their own. */
  ending(): void {
    const { state } = this;
    this.#state = { tag: 'ending', blocker: state.tag === 'shut' ? state.blocker : undefined };
    this.#deadline?.stop();
  }

  /** COMMIT has failed, which the events of the end are to say. */
  commitFailed(error: unknown): void {
    if (isTransactionObserved()) {
      this.transactionInfo?.commitFailed(error);
    }
  }

  /** It has ended. */
  end(outcome: Outcome, blocker = this.commitBlocker, killedBy?: Error): void {
    this.#state = { tag: 'ended', outcome, blocker, ...(killedBy && { killedBy }) };
    this.#deadline?.stop();
    this.#transaction.hasEnded();
  }

  /**
   * Gives up on the connection at once: cancels what the server is running and destroys the client.
   * What is being committed or rolled back goes on, within its own limit.
   */
  kill(reason: Error): void {
    const state = this.#state;
    if (state.tag === 'ending' || state.tag === 'ended') {
      return;
    }
    this.#destroyed = leaseOf(state)?.destroy() ?? this.#destroyed;
    const broken =
      state.tag === 'broken'
        ? state
        : ({ tag: 'broken', cause: { error: reason }, hasBegun: true } as const);
    this.end('rolled-back', commitBlockerOf(broken, this), reason);
    this.#callListeners();
  }

  /**
   * Lets no statement through any more; its connection goes at once. The limit of the transaction goes on,
   * since code of others that works in it may still hang (F6).
   */
  #break(error: unknown, hasBegun = true): void {
    this.#destroyed = leaseOf(this.#state)?.destroy();
    this.#state = { tag: 'broken', cause: { error }, hasBegun };
  }

  #callListeners(): void {
    this.#onShut?.forEach((listener) => listener());
    this.#onShut?.clear();
  }
}
