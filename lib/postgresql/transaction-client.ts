/** A query as an object, as pg takes it. */
export interface ClientQuery {
  /** The statement, with `$1`, `$2`, and so on for its values. */
  readonly text: string;
  /** The values, in their order. */
  readonly values?: readonly unknown[];
  /** Makes it a prepared statement of this name. */
  readonly name?: string;
  /** `array`: rows are arrays instead of objects. */
  readonly rowMode?: 'array';
}

/** The answer of the server to a query. */
export interface ClientResult<R> {
  /** The rows that were read or returned. */
  readonly rows: R[];
  /** Number of rows that were read or changed, where the command has one. */
  readonly rowCount: number | null;
  /** The command tag: `SELECT`, `INSERT`, ... */
  readonly command: string;
}

/**
 * What `dbContext.withClient()` gives where its callback names no class for its client: the part of
 * pg's client that most code needs. The client is that of pg all the same.
 *
 * @publicApi
 */
export interface TransactionClient {
  /** Sends a query. */
  query<R = Record<string, unknown>>(
    query: string | ClientQuery,
    values?: readonly unknown[],
  ): Promise<ClientResult<R>>;
  /** Sends what handles its answer itself: a cursor, a copy, a stream. */
  query<S extends { submit(connection: never): unknown }>(submittable: S): S;
  /** The name as an identifier of SQL, quotes included. */
  escapeIdentifier(name: string): string;
  /** The value as a literal of SQL, quotes included. */
  escapeLiteral(value: string): string;
}
