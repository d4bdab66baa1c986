import type { StatementKind } from '../telemetry/operation-events.js';
import type { Outcome } from '../outcome.js';
import type { ServerMessages } from './server-messages.js';
import type { ShownError } from './shown-error.js';

/** What is kept of a request, or of another unit of work. All times are those of `performance.now()`. */
export interface RequestRecord {
  readonly id: number;
  readonly startedAt: number;
  /** The HTTP method; `undefined` for what is no HTTP request. */
  readonly method: string | undefined;
  /** The path as it was asked for, without its query. */
  readonly path: string | undefined;
  /** The path of the route, `/orders/:id`. */
  route: string | undefined;
  /** What has served it: `OrdersController.create`, `dbContext.run()`. */
  origin: string | undefined;
  endedAt: number | undefined;
  /** The status of the answer; `undefined` while there is none. */
  status: number | undefined;
  /** Whether its client has left before the answer was complete. */
  isAbandoned: boolean;
  /** What its handler has thrown. */
  handlerError: ShownError | undefined;
  readonly contexts: ContextRecord[];
  readonly transactions: TransactionRecord[];
  readonly findings: FindingRecord[];
  readonly serverMessages: ServerMessages;
  /** How many statements it has sent, without BEGIN and COMMIT, and with those that are not kept. */
  statements: number;
  /** How many contexts of it have not ended. */
  open: number;
  /** About how many bytes its texts take. */
  bytes: number;
  /** Whether it had to give way to later ones. */
  isDropped: boolean;
}

/** A unit of work of a request. */
export interface ContextRecord {
  readonly isInner: boolean;
  endedAt: number | undefined;
  outcome: 'committed' | 'rolled-back' | undefined;
  /** Whether it had sessions. */
  hasSessions: boolean;
  reason: string | undefined;
  error: ShownError | undefined;
  /** Whether what failed in it was run again. */
  isRetried: boolean;
}

/** A transaction, or statements in none on one connection. */
export interface TransactionRecord {
  readonly connection: string;
  readonly database: string | undefined;
  readonly host: string;
  /** Whether its statements are in no transaction, or each in one of its own. */
  readonly isNone: boolean;
  readonly startedAt: number;
  endedAt: number | undefined;
  outcome: Outcome | undefined;
  error: ShownError | undefined;
  isolationLevel: string | undefined;
  isReadOnly: boolean | undefined;
  processId: number | undefined;
  readonly waits: WaitRecord[];
  readonly statements: StatementRecord[];
  /** How many statements are not kept. */
  left: number;
}

/** The wait for a connection. */
export interface WaitRecord {
  readonly startedAt: number;
  durationMs: number | undefined;
  error: ShownError | undefined;
  /** What the pool had as it was asked. */
  queue: { readonly size: number; readonly waiting: number } | undefined;
}

/** One message to the server. */
export interface StatementRecord {
  readonly kind: StatementKind;
  /** Without its values. */
  readonly sql: string;
  /** With its values, where they are to be shown. */
  readonly shown: string | undefined;
  readonly values: string | undefined;
  /** Whether BEGIN is in the same message, or COMMIT. */
  readonly begins: boolean;
  readonly commits: boolean;
  readonly startedAt: number;
  durationMs: number | undefined;
  rows: number | undefined;
  error: ShownError | undefined;
  hasRun: boolean;
  /** The place in the code of the application that has sent it. */
  readonly place: string | undefined;
  /** The savepoint that it has set. */
  savepoint: SavepointRecord | undefined;
}

/** A part of a transaction. */
interface SavepointRecord {
  readonly name: string;
  endedAt: number | undefined;
  outcome: 'committed' | 'rolled-back' | 'unknown' | undefined;
}

/** What the watch has found. */
export interface FindingRecord {
  readonly kind: string;
  readonly at: number;
  readonly connection: string | undefined;
  readonly message: string;
  readonly place: string | undefined;
}
