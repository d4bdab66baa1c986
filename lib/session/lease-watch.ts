/** Who looks for misuse, in development. */
export interface LeaseWatch {
  /** A statement was asked for; called by the code that asks. */
  sent(sql: string): void;
  /** The server has answered it, or it failed. */
  answered(): void;
  /** A statement was refused, since the transaction has ended. */
  refused(): void;
  /** The connection is given back. */
  ended(): void;
  flushBegins(): void;
  flushEnds(): void;
}
