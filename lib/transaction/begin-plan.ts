import type { Claim, Holder } from '../connection/claim.js';
import { LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import type { SessionReset } from '../connection/session-reset.js';
import type { KnownCode } from '../postgresql/hidden-code.js';
import type { PgClient } from '../postgresql/pg-client.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import type { Server, Statement } from './server.js';

/** What begins a transaction, as data: settled before a connection is taken. */
export interface BeginPlan {
  /** All settings that it begins with. */
  readonly settings: TransactionSettings;
  /** The statements that begin it. */
  readonly statements: readonly Statement[];
  /** Runs before a connection is taken; may send statements, which begin the transaction. */
  readonly before: (() => Promise<void>) | undefined;
  /**
   * Runs after BEGIN, and before the statement that the transaction began for. Where there is none,
   * that statement leaves in one message with BEGIN.
   */
  readonly after: (() => Promise<void>) | undefined;
}

/** What is announced to subscribers, by MikroORM's names. */
export type TransactionEvent =
  | 'beforeTransactionRollback'
  | 'afterTransactionCommit'
  | 'afterTransactionRollback';

/** For whom a transaction runs, and what that adds to it. */
export interface TransactionOwner {
  /** The unit of work that its connection is taken for. */
  readonly holder: Holder | undefined;
  /**
   * Settles how the transaction begins. Runs code of the application (variables, roles, hosts).
   *
   * @param settings those of the transaction itself, which win over those of the connection
   */
  plan(settings: TransactionSettings): BeginPlan | Promise<BeginPlan>;
  /** Whether no code of the application has a say in its plan, which then comes at once. */
  readonly plansAlone: boolean;
  /** Why a statement cannot be sent by the code that the plan is waiting for. */
  planMisused(): Error;
  /** Whether a plain read may be a transaction of its own, before the first write begins this one. */
  mayReadAhead(settings: TransactionSettings): boolean;
  /** What begins such a read. */
  planOfRead(settings: TransactionSettings): readonly Statement[] | Promise<readonly Statement[]>;
  /** Announces an end to subscribers, who cannot change it; never throws. `undefined`: nobody listens. */
  announce(event: TransactionEvent): Promise<void> | undefined;
}

/** Limits of a transaction, in milliseconds. */
interface TransactionLimits {
  /** From its first work to its end. */
  readonly transactionTimeoutMs: number;
  /** Longest wait for statements in flight before a rollback. */
  readonly drainTimeoutMs: number;
  /** Longest wait for the answer to COMMIT, and to ROLLBACK. */
  readonly endTimeoutMs: number;
  /** Longest wait of a statement for a savepoint of a parallel branch. */
  readonly savepointTimeoutMs: number;
}

/** The connection that a transaction runs on. */
export interface TransactionSource {
  readonly name: string;
  /** What events call it; there are none of its transactions without it. */
  readonly telemetry?: ConnectionInfo | undefined;
  readonly server: Server;
  readonly limits: TransactionLimits;
  /** Settings of all its transactions, where a transaction has none of its own. */
  readonly transactionOptions: { readonly transaction?: TransactionSettings | undefined };
  /** What is known of code that hides in the database; another object for each server. */
  readonly knownCode: KnownCode;
  /** Takes a client from the pool. */
  checkOut(claim: Claim): Promise<PgClient>;
  /** Resets what a transaction leaves in the session of a client; `undefined` where that may stay. */
  readonly sessionReset?: SessionReset | undefined;
  /** How clients read what they wrote, where the log position of writes is kept for that. */
  readonly readYourWrites?: object | undefined;
  /** Called with each statement that MikroORM does not send, and so does not log, itself. */
  onStatement(sql: string, tookMs: number): void;
  /** Called with each failure of a statement. */
  onFailure(error: unknown, client: PgClient, isReadOnly: boolean): void;
  /** Called with what nobody is there to catch. */
  report(message: string, error: unknown): void;
}

/**
 * The limit of a transaction in milliseconds. That of its unit of work, where it has one, comes first: it
 * ends the transaction by a rollback, after a wait for the statements in flight.
 */
export function limitOf({ limits }: TransactionSource, { holder }: TransactionOwner): number {
  return holder?.timeoutMs === undefined
    ? limits.transactionTimeoutMs
    : Math.min(holder.timeoutMs + limits.drainTimeoutMs, LONGEST_LIMIT_MS);
}
