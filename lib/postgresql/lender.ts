import type { PgResult } from './pg-client.js';

/** What the server has refused; `undefined` where it has refused nothing. */
export interface Failed {
  readonly error: unknown;
}

/** What a client is lent for: it is given each query, and refuses in the name of its lender. */
export interface Lender {
  /** @throws why nothing may be sent any more */
  assertOpen(): void;
  /**
   * The error for the use of a client that has been given back.
   *
   * @param cause what became of a query that was under way then
   */
  closed(cause?: unknown): Error;
  /** The error for a call that only the lender may make. */
  refusal(call: string, advice: string): Error;
  /** Reports an error event of a stream that nobody listens to. */
  unheard(error: unknown): void;
  /** A query is about to be sent. */
  sends(sql: string, values: readonly unknown[]): void;
  /** Lets a query that `sends()` was called for leave. */
  handOver(query: { send(): void }): void;
  /** The server has answered a query; the next one has not left. */
  answered(sql: string, answer: PgResult | PgResult[], tookMs: number): void;
  /**
   * The server has answered a query object, which keeps its answer for itself.
   *
   * @param tags a result for each command tag
   * @param failure what has made the transaction fail, if it has failed
   */
  returned(sql: string, tags: PgResult[], tookMs: number, failure: Failed): void;
  failed(sql: string, error: unknown): void;
}
