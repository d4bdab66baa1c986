import { errorInfoOf, type ErrorInfo } from './error-info.js';
import { maskedSql } from './masked-sql.js';
import type { ConnectionInfo, ConnectionUse, ContextInfo, TransactionInfo } from './payloads.js';
import { callers, placeHere, placeOfPublisher, showsApplication, type Place } from './place.js';
import { UNMASKED } from './unmasked.js';

export { UNMASKED } from './unmasked.js';

/**
 * What a message to the server is: `statement` is the application's, the first one together with what
 * begins the transaction; a `question` is the library's own (the LSN of a commit, the catalogue).
 *
 * @publicApi
 */
export type StatementKind = 'statement' | 'begin' | 'commit' | 'rollback' | 'question';

/**
 * What a message to the server, or the wait for a connection, is part of.
 *
 * @publicApi
 */
export interface EventOrigin {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  /** `undefined` for a statement in no transaction, and for a read in one of its own. */
  readonly transaction: TransactionInfo | undefined;
  /** What the connection is for that it is sent on, or that is waited for, where that is for no `transaction`. */
  readonly use: ConnectionUse | undefined;
}

/** What knows, where somebody listens, what its events are part of; without that it has none. */
export interface EventSource {
  readonly telemetry: EventOrigin | undefined;
}

/** How often a promise may be handed on between the application and a statement. */
const TURNS = 4;

/**
 * A statement that was asked for, and may have to wait for others, or for a connection, before it leaves.
 *
 * @publicApi
 */
export class StatementRequest implements EventOrigin {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly transaction: TransactionInfo | undefined;
  readonly use: ConnectionUse | undefined;
  readonly #text: string;
  #masked: string | undefined;
  #place: Place | undefined;

  /** @internal */
  constructor({ connection, context, transaction, use }: EventOrigin, text: string) {
    this.connection = connection;
    this.context = context;
    this.transaction = transaction;
    this.use = use;
    this.#text = text;
  }

  /** Its text; each literal is a question mark. */
  get sql(): string {
    return (this.#masked ??= maskedSql(this.#text));
  }

  /**
   * Keeps the place in the code that it was asked for at, for {@link StatementRequest.stack}. To be called by a
   * listener of `statement:request`, while the event is delivered. It costs some microseconds; the text is
   * only made when it is read.
   */
  keepStack(): void {
    this.#place ??= placeOfPublisher();
  }

  /**
   * The place in the code of the application that asked for it: lines of a stack, the innermost call first.
   * `undefined` where no listener has called {@link StatementRequest.keepStack}, and where MikroORM has lost
   * the trace to that code.
   */
  get stack(): string | undefined {
    return this.#place !== undefined && showsApplication(this.#place)
      ? callers(this.#place)
      : undefined;
  }

  /**
   * @internal Looks again for the place, a moment after the request: MikroORM's promises only lead to the code
   * that awaits them once they have all been handed on. `undefined` where nobody asks for the place.
   */
  followTrace(): Promise<void> | undefined {
    return this.#place === undefined ? undefined : this.#lookAgain(this.#place);
  }

  async #lookAgain(before: Place): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) {
      await Promise.resolve();
    }
    const after = placeHere();
    this.#place = {
      get stack() {
        return showsApplication(before) ? before.stack : after.stack;
      },
    };
  }

  /** @internal The same, as the watch judges it. */
  get place(): Place | undefined {
    return this.#place;
  }

  /** What is not shown by default. */
  get [UNMASKED](): { readonly text: string } {
    return { text: this.#text };
  }
}

/**
 * What a statement holds that is not shown by default: its values.
 *
 * @publicApi
 */
export interface UnmaskedStatement {
  /** The texts of the message with all their values, in order. */
  readonly texts: readonly string[];
  /** The parameters; none where they stand in the text, as MikroORM writes them. */
  readonly values: readonly unknown[];
  /** What the server or the connection has answered, where it has failed. */
  readonly error: unknown;
}

/** One message to the server. */
export interface Message {
  readonly kind: StatementKind;
  /** All texts of it, in order. */
  readonly texts: readonly string[];
  /** Which of them is the application's, or the only one. */
  readonly main: string;
  readonly values: readonly unknown[];
  /** Whether code sends it that has the client itself. */
  readonly isLent?: boolean;
  /** Where it was asked for, if anybody has listened to that. */
  readonly request?: StatementRequest | undefined;
}

/**
 * One message to the server: all events of it are this object.
 *
 * @publicApi
 */
export class StatementEvent implements EventOrigin {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly transaction: TransactionInfo | undefined;
  readonly use: ConnectionUse | undefined;
  readonly kind: StatementKind;
  /** When it was sent, by `performance.now()`. */
  readonly startedAt = performance.now();
  readonly #message: Message;
  #masked: readonly string[] | undefined;
  #maskedSql: string | undefined;
  #durationMs: number | undefined;
  #rows: number | undefined;
  #failure: { readonly error: unknown; readonly info: ErrorInfo } | undefined;
  #hasRun = true;

  /** @internal */
  constructor({ connection, context, transaction, use }: EventOrigin, message: Message) {
    this.connection = connection;
    this.context = context;
    this.transaction = transaction;
    this.use = use;
    this.kind = message.kind;
    this.#message = message;
  }

  /** The event with which it was asked for; `undefined` where nobody listened, and for what the library sends by itself. */
  get request(): StatementRequest | undefined {
    return this.#message.request;
  }

  /** See {@link StatementRequest.stack}. */
  get stack(): string | undefined {
    return this.request?.stack;
  }

  /** Whether code sends it that has the client itself, of `withClient()`. */
  get isLent(): boolean {
    return this.#message.isLent === true;
  }

  /** Its text; each literal is a question mark. */
  get sql(): string {
    return (this.#maskedSql ??= maskedSql(this.#message.main));
  }

  /** The texts of the whole message as {@link StatementEvent.sql} shows them: BEGIN may come before, COMMIT after. */
  get texts(): readonly string[] {
    return (this.#masked ??= this.#message.texts.map(maskedSql));
  }

  /** In milliseconds; `undefined` until it is answered. */
  get durationMs(): number | undefined {
    return this.#durationMs;
  }

  /** How many rows it has read or changed, by the server's word; `undefined` until it is answered. */
  get rows(): number | undefined {
    return this.#rows;
  }

  /** Why it has failed, if it has. */
  get error(): ErrorInfo | undefined {
    return this.#failure?.info;
  }

  /**
   * Whether the server has run any of it. It has not where BEGIN and a text that cannot be parsed were one
   * message; they are then sent again, each by itself.
   */
  get hasRun(): boolean {
    return this.#hasRun;
  }

  /** What is not shown by default. */
  get [UNMASKED](): UnmaskedStatement {
    const { texts, values } = this.#message;
    return { texts, values, error: this.#failure?.error };
  }

  /** @internal */
  succeeded(rows: number): void {
    this.#durationMs = performance.now() - this.startedAt;
    this.#rows = rows;
  }

  /** @internal */
  failed(error: unknown, hasRun: boolean): void {
    this.#durationMs = performance.now() - this.startedAt;
    this.#hasRun = hasRun;
    this.#failure = { error, info: errorInfoOf(error) };
  }
}
