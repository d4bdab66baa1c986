import { maskedSql } from './masked-sql.js';
import { UNMASKED } from './operation-events.js';
import type { ConnectionInfo, ContextInfo } from './payloads.js';

/**
 * What the option `watch` looks for, see docs/control.md.
 *
 * - `open-too-long`: a context has been open for longer than `contextOpenMs`
 * - `idle-in-transaction`: nothing was asked of a connection for longer than `idleInTransactionMs`
 * - `late-use`: a session was used after the end of its context, by work that was not awaited
 * - `concurrent-flush`: a session was flushed while another flush of it was running
 * - `past-session`: a statement that writes was sent in no transaction of the context
 * - `lost-fork`: a fork with entities that nobody has flushed
 * - `self-wait`: a context waits for a lock that it holds itself
 *
 * @publicApi
 */
export type FindingKind =
  | 'open-too-long'
  | 'idle-in-transaction'
  | 'late-use'
  | 'concurrent-flush'
  | 'past-session'
  | 'lost-fork'
  | 'self-wait';

/** What is found; its texts may hold values. */
export interface Finding {
  readonly kind: FindingKind;
  readonly context: ContextInfo;
  readonly connection: ConnectionInfo | undefined;
  readonly message: string;
  /** The statement that the message names, {@link shorten}ed there. */
  readonly sql: string | undefined;
  /** The lines of the stack of the place that it is about; asked for where somebody reads them. */
  readonly stack: () => string;
}

/**
 * What the watch has found, where it was found.
 *
 * @publicApi
 */
export class FindingEvent {
  readonly kind: FindingKind;
  readonly context: ContextInfo;
  /** The connection that it is about; `undefined` where it is about none, or about several. */
  readonly connection: ConnectionInfo | undefined;
  readonly #finding: Finding;

  /** @internal */
  constructor(finding: Finding) {
    this.kind = finding.kind;
    this.context = finding.context;
    this.connection = finding.connection;
    this.#finding = finding;
  }

  /**
   * What was found and how to fix it, in sentences; the last one says what {@link FindingEvent.stack} shows.
   * Each literal of a statement that it names is a question mark.
   */
  get message(): string {
    const { message, sql } = this.#finding;
    return sql === undefined || sql === ''
      ? message
      : message.replaceAll(shorten(sql), () => shorten(maskedSql(sql)));
  }

  /** The place in the code of the application: lines of a stack, the innermost call first. */
  get stack(): string {
    return this.#finding.stack();
  }

  /** What is not shown by default. */
  get [UNMASKED](): { readonly message: string } {
    const { message } = this.#finding;
    return { message };
  }
}

const LONGEST_SQL = 80;

/** The beginning of a statement, for a message. */
export function shorten(sql: string): string {
  return sql.length > LONGEST_SQL ? `${sql.slice(0, LONGEST_SQL)}…` : sql;
}
