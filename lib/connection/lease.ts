import { cancelBackend } from '../postgresql/cancel-request.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';
import type { SessionState } from '../postgresql/session-state.js';
import { poolRelease, statement } from '../telemetry/channels.js';
import type { EventOrigin, EventSource, StatementKind } from '../telemetry/operation-events.js';
import type { StatementRequest } from '../telemetry/operation-events.js';
import { announced, traced, type SentStatement } from '../telemetry/statement-trace.js';
import type { Placed } from './claim.js';
import { destroyClient, destroyClientAfter } from './destroy-client.js';
import { isQuiet, isQuietWithin } from './quiet-client.js';
import type { SessionReset } from './session-reset.js';
import { withinLimit } from './time-limit.js';

/** The answer of the server to a message: one result, or one for each statement in the text. */
export type Answer = PgResult | PgResult[];

/** Several statements in one message. */
interface CombinedMessage {
  sendOn(client: PgClient): Promise<Answer>;
  /** Whether the server has run any of it. */
  readonly hasBegun: boolean;
  readonly texts: readonly string[];
}

/** A statement of the application, with the event with which it was asked for. */
export interface RequestedStatement {
  readonly sql: string;
  readonly request?: StatementRequest | undefined;
}

/** What a client is lent for, for events and for reports. */
interface LeaseSource extends EventSource, Placed {}

/** Longest wait for a cancel request to leave, in milliseconds; the request has a limit of its own. */
const CANCEL_LIMIT_MS = 2_000;

/** Longest wait for the status of a transaction that has failed, in milliseconds. */
const STATUS_LIMIT_MS = 1_000;

/**
 * One client of a pool, lent to a transaction: given back or destroyed exactly once (F1). A second
 * end does nothing.
 */
export class Lease {
  readonly client: PgClient;
  readonly #onError: (error: Error) => void;
  readonly #reset: SessionReset | undefined;
  readonly #sessionState: SessionState | undefined;
  readonly #source: LeaseSource | undefined;
  /** By the clock of `performance.now()`; 0 where nobody listened. */
  readonly #takenAt: number;
  /** What it was taken for, where somebody listened: it may be given back after the end of that. */
  readonly #takenFor: EventOrigin | undefined;
  #isEnded = false;
  /** A cancel request on its way, which must not hit a later statement. */
  #cancelling: Promise<void> | undefined;
  #isReusable = true;

  /**
   * @param onError is called when the connection fails while no statement is under way
   * @param reset resets what is left in the session; `undefined` where all of it may stay
   * @param source what events say that its statements are part of; without it there are no events
   */
  constructor(
    client: PgClient,
    onError: (error: Error) => void,
    reset?: SessionReset,
    source?: LeaseSource,
  ) {
    this.client = client;
    this.#source = source;
    this.#takenAt = poolRelease.hasSubscribers ? performance.now() : 0;
    this.#takenFor = this.#takenAt === 0 ? undefined : source?.telemetry;
    this.#onError = onError;
    this.#reset = reset;
    this.#sessionState = reset?.stateOf(client);
    client.on('error', onError);
  }

  /** The last transaction status from the server: idle (I), in a transaction (T), in a failed one (E). */
  get status(): 'I' | 'T' | 'E' | null {
    return this.client.getTransactionStatus();
  }

  /**
   * Sends one message.
   *
   * @param kind what events call it
   * @param request the event with which it was asked for
   */
  query(
    sql: string,
    values: readonly unknown[] = [],
    kind: StatementKind = 'statement',
    request?: StatementRequest,
  ): Promise<Answer> {
    if (this.#cancelling !== undefined) {
      return this.#cancelling.then(() => this.#send(sql, values, kind, request));
    }
    return this.#send(sql, values, kind, request);
  }

  /** Runs `use` with the client itself, to which nothing is on its way. */
  async lend<T>(use: (client: PgClient, onSend?: OnSend) => Promise<T>): Promise<T> {
    await this.#cancelling;
    return this.client.lend === undefined ? use(this.client) : this.client.lend(use);
  }

  /**
   * Sends a message that is more than one text.
   *
   * @param first the statement of the application in it
   */
  sendMessage(message: CombinedMessage, { sql, request }: RequestedStatement): Promise<Answer> {
    this.#sessionState?.sends(sql);
    const origin = this.#observed;
    if (origin === undefined) {
      return message.sendOn(this.client);
    }
    const { texts } = message;
    return traced(
      origin,
      { kind: 'statement', texts, main: sql, values: [], request },
      () => message.sendOn(this.client),
      () => message.hasBegun,
    );
  }

  /** Publishes a query that code sends which has the client itself; the caller says what comes of it. */
  announces(
    sql: string,
    values: readonly unknown[],
    request: StatementRequest | undefined,
  ): SentStatement | undefined {
    const origin = this.#observed;
    return (
      origin &&
      announced(origin, {
        kind: 'statement',
        texts: [sql],
        main: sql,
        values,
        request,
        isLent: true,
      })
    );
  }

  /** Notes a text that code sends which has the client itself; an empty one is not known. */
  notes(sql: string): void {
    if (sql === '') {
      this.#sessionState?.sendsUnknown();
    } else {
      this.#sessionState?.sends(sql);
    }
  }

  #send(
    sql: string,
    values: readonly unknown[],
    kind: StatementKind,
    request: StatementRequest | undefined,
  ): Promise<Answer> {
    this.#sessionState?.sends(sql);
    const origin = this.#observed;
    if (origin === undefined) {
      return this.#dispatch(sql, values);
    }
    // Whatever else COMMIT carries is the library's.
    const main = kind === 'commit' ? kind : sql;
    return traced(origin, { kind, texts: [main], main, values, request }, () =>
      this.#dispatch(sql, values),
    );
  }

  #dispatch(sql: string, values: readonly unknown[]): Promise<Answer> {
    return values.length === 0 ? this.client.query(sql) : this.client.query(sql, values);
  }

  /** What its statements are part of, where somebody wants to know (O1). */
  get #observed(): EventOrigin | undefined {
    return statement.hasSubscribers ? this.#source?.telemetry : undefined;
  }

  /** Asks the server to cancel the statement in flight, which then fails with its error 57014. */
  cancel(): void {
    this.#cancelling = cancelBackend(this.client).then((isOver) => {
      this.#isReusable &&= isOver;
    });
  }

  /** Makes `giveBack()` destroy the client, since an answer may still be on its way to it. */
  preventReuse(): void {
    this.#isReusable = false;
  }

  /**
   * Gives the client back, if the server says that it is outside of a transaction (F2); destroys it
   * otherwise. What is left in its session is reset before, for which nobody waits (F7).
   */
  giveBack(): void {
    if (!this.#end()) {
      return;
    }
    if (this.#cancelling === undefined) {
      this.#handOver();
    } else {
      // The request on its way must not hit a statement of the next borrower.
      void this.#cancelling.then(() => this.#handOver());
    }
  }

  #handOver(): void {
    if (this.#isReusable && !isQuiet(this.client)) {
      // The status that follows an error may come in a packet of its own, and be another one.
      void isQuietWithin(this.client, STATUS_LIMIT_MS).then((isKnown) => {
        this.#isReusable &&= isKnown;
        this.#handOverQuiet();
      });
      return;
    }
    this.#handOverQuiet();
  }

  #handOverQuiet(): void {
    const isUsable = this.#isReusable && this.status === 'I';
    this.#publishRelease(!isUsable);
    if (isUsable) {
      const isReset = this.#reset?.afterUse(this.client, this.#source);
      if (isReset === undefined) {
        this.#release();
      } else {
        void isReset.then((isClean) => isClean && this.#release());
      }
    } else {
      destroyClient(this.client);
    }
  }

  #release(): void {
    this.client.release();
    this.client.off('error', this.#onError);
  }

  /**
   * Takes the client out of the pool at once, and stops what the server is running for it.
   *
   * @returns a promise that resolves when the cancel request has left: if the process ended before, the
   *   statement and its locks would stay on the server
   */
  async destroy(): Promise<void> {
    if (this.#end()) {
      this.#publishRelease(true);
      const cancelled = cancelBackend(this.client);
      // The socket outlives the request: a pooler that sees the connection end first cancels nothing.
      destroyClientAfter(this.client, cancelled);
      // The request does not keep the process alive; this limit does.
      this.#cancelling = withinLimit(cancelled, CANCEL_LIMIT_MS).then(() => undefined);
    }
    await this.#cancelling;
  }

  #publishRelease(isDestroyed: boolean): void {
    const origin = poolRelease.hasSubscribers
      ? (this.#takenFor ?? this.#source?.telemetry)
      : undefined;
    if (origin !== undefined) {
      const { connection, context, transaction, use } = origin;
      const usedMs = this.#takenAt === 0 ? undefined : performance.now() - this.#takenAt;
      poolRelease.publish({ connection, context, transaction, use, usedMs, isDestroyed });
    }
  }

  /** @returns whether this call is the one that ends the lease */
  #end(): boolean {
    const isFirst = !this.#isEnded;
    this.#isEnded = true;
    return isFirst;
  }
}
