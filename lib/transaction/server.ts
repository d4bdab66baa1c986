import type { Answer } from '../connection/lease.js';
import type { HiddenCode } from '../postgresql/hidden-code.js';
import type { PgClient } from '../postgresql/pg-client.js';

/** One statement, with the values of its parameters. */
export interface Statement {
  readonly sql: string;
  readonly values: readonly unknown[];
}

/** Several statements in one message, which saves the round trips between them. */
interface CombinedMessage {
  /**
   * Sends the message.
   *
   * @returns the answer to the last statement alone
   * @throws its failure, with a position that counts from the beginning of that statement
   */
  sendOn(client: PgClient): Promise<Answer>;
  /** Whether the server has answered the first statement of the message; if not, none of it has run. */
  readonly hasBegun: boolean;
  /** The texts of its statements, in order. */
  readonly texts: readonly string[];
}

/** What the server has answered to COMMIT. */
interface CommitAnswer {
  readonly word: 'committed' | 'rolled-back' | 'unclear';
  /** Whether the transaction had written anything, where that was asked for. */
  readonly hasWritten: boolean;
}

/**
 * What a transaction has to know of the server that it runs on. `postgresql/server.ts` is the one that
 * there is; another server would be another implementation, and no change to a transaction.
 */
export interface Server {
  /** The texts that set, release and undo a savepoint; undoing it removes it as well. */
  setSavepoint(name: string): string;
  releaseSavepoint(name: string): string;
  undoSavepoint(name: string): string;

  /**
   * Puts what begins a transaction and its first statement into one message.
   *
   * @param isWhole whether the message is to commit the transaction as well
   */
  combine(
    client: PgClient,
    begin: readonly Statement[],
    sql: string,
    isWhole?: boolean,
  ): CombinedMessage;

  /** The text of ROLLBACK. */
  readonly rollback: string;
  /** The text of COMMIT. */
  commit(asksWhetherWritten: boolean): string;
  /** @param asksWhetherWritten as it was given to {@link Server.commit} */
  commitAnswer(answer: Answer, asksWhetherWritten: boolean): CommitAnswer;
  /** Whether the server has confirmed ROLLBACK. */
  isRolledBack(answer: Answer): boolean;
  /** Whether the server is ready, and has said nothing of a statement: its answers are out of step. */
  isUnanswered(sql: string, answer: Answer): boolean;
  /** Asks where the log of the server ends; a replica must have come so far to show what was written. */
  readonly writtenLsn: string;
  /** An LSN that no replica reaches: what was written is not known well enough. */
  readonly unreachableLsn: bigint;
  /** @throws Error the answer holds no LSN */
  lsnOf(answer: Answer): bigint;

  /**
   * Whether a statement reads, and neither writes nor locks; in doubt it is not.
   *
   * @param hidden the names behind which code may hide that does; by default only the text is judged
   */
  isPlainRead(sql: string, hidden?: HiddenCode): boolean;
  /** Asks for those names. */
  readonly hiddenCode: string;
  hiddenCodeOf(answer: Answer): HiddenCode;
  /** Whether a statement of the application has ended the transaction past the session. */
  isEnd(sql: string, answer: Answer): boolean;
  /** What became of the transaction that such a statement has ended. */
  wordOfEnd(answer: Answer): CommitAnswer['word'];
  /** Whether a text holds a statement that ends a transaction, if the server came to it. */
  mayHaveEnded(sql: string): boolean;

  /** Whether the server itself refused; any other error leaves a connection in an unknown state. */
  isRefusal(error: unknown): boolean;
  /** Whether the server has said that it closes the connection. */
  endsConnection(error: unknown): boolean;
  /** Whether the server closed the connection because nothing was sent, so before a COMMIT reached it. */
  isIdleTimeout(error: unknown): boolean;
  /** Whether a statement was refused for an earlier failure in its transaction. */
  isAborted(error: unknown): boolean;
  /** Whether a statement was refused because it wanted to write in a read-only transaction. */
  hasTriedToWrite(error: unknown): boolean;
}
