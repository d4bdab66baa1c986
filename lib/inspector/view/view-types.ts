import type { ShownError } from '../shown-error.js';

/** How a request has ended: `running` where it has not. */
export type ShownOutcome = 'running' | 'committed' | 'rolled-back' | 'unknown' | 'untouched';

/** One line of the list, as the page gets it. */
export interface RequestSummary {
  readonly id: number;
  /** When it began, in milliseconds since 1970. */
  readonly at: number;
  /** `POST /orders/:id`, or what has opened the unit of work. */
  readonly title: string;
  /** What has served it: `OrdersController.create`. */
  readonly origin: string | undefined;
  readonly status: number | undefined;
  readonly outcome: ShownOutcome;
  readonly isAbandoned: boolean;
  readonly attempts: number;
  readonly statements: number;
  /** How long a transaction was open, on one connection or several, in milliseconds. */
  readonly transactionMs: number;
  /** How long connections were waited for, in milliseconds. */
  readonly waitMs: number;
  readonly durationMs: number;
  readonly findings: number;
}

/** Why something was rolled back. */
export interface ShownReason {
  readonly text: string;
  readonly error: ShownError | undefined;
}

/** What was found, as the page shows it. */
export interface ShownFinding {
  readonly kind: 'finding';
  /** In milliseconds since the request began. */
  readonly at: number;
  readonly depth: number;
  readonly title: string;
  readonly text: string;
  readonly place: string | undefined;
}

/** A line of a waterfall that takes time; its times are in milliseconds since the request began. */
export interface ShownSpan {
  readonly kind:
    | 'wait'
    | 'idle'
    | 'savepoint'
    | 'statement'
    | 'begin'
    | 'commit'
    | 'rollback'
    | 'question';
  readonly at: number;
  /** How long it has taken, or has taken so far. */
  readonly ms: number;
  readonly isRunning: boolean;
  /** How many savepoints it is in. */
  readonly depth: number;
  readonly text: string;
  readonly values?: string | undefined;
  readonly rows?: number | undefined;
  readonly begins?: boolean;
  readonly commits?: boolean;
  /** Which one of how many times that the same statement was sent, and which one of such statements it is. */
  readonly repeat?:
    | { readonly group: number; readonly number: number; readonly count: number }
    | undefined;
  readonly error?: ShownError | undefined;
  readonly place?: string | undefined;
  /** What the pool was like, for one. */
  readonly note?: string | undefined;
}

export type ShownRow = ShownSpan | ShownFinding;

/** A transaction, as the page shows it. */
export interface ShownTransaction {
  readonly isNone: boolean;
  readonly outcome: ShownOutcome;
  readonly isolationLevel: string | undefined;
  readonly isReadOnly: boolean | undefined;
  readonly processId: number | undefined;
  /** How long a connection was waited for, in milliseconds. */
  readonly waitMs: number;
  /** From its first statement to its end, in milliseconds. */
  readonly ms: number;
  readonly rows: readonly ShownRow[];
  /** How many statements were not kept. */
  readonly left: number;
}

/** Whether a page may have a stream. */
export interface StreamsState {
  /** How many pages have one. */
  readonly open: number;
  readonly most: number;
  readonly isClosing: boolean;
}

/** One request, as the page gets it. */
export interface RequestDetail extends RequestSummary {
  readonly reasons: readonly ShownReason[];
  /** What was found and belongs to no transaction. */
  readonly unplaced: readonly ShownFinding[];
  readonly connections: readonly {
    readonly name: string;
    readonly database: string | undefined;
    readonly host: string;
    readonly transactions: readonly ShownTransaction[];
  }[];
}
