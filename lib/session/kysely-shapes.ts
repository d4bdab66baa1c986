/**
 * The shapes by which MikroORM's driver and Kysely talk to a transaction, as types of our own:
 * Kysely is a dependency of the driver, not of this library. `test/e2e/kysely-surface.spec.ts`
 * fails when an upgrade changes any of them.
 */

/** Kysely's `CompiledQuery`, as far as it is read here. */
export interface CompiledStatement {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

/** What Kysely passes for one execution. */
export interface ExecuteOptions {
  /** Asked right before the statement is sent. */
  readonly signal?: AbortSignal | undefined;
}

/** Kysely's `QueryResult`. */
export interface StatementResult {
  readonly numAffectedRows?: bigint;
  readonly rows: unknown[];
}

/** Kysely's `DatabaseConnection`. */
export interface StatementConnection {
  executeQuery(statement: CompiledStatement, options?: ExecuteOptions): Promise<StatementResult>;
  streamQuery(
    statement: CompiledStatement,
    chunkSize: number,
    options?: ExecuteOptions,
  ): AsyncIterableIterator<StatementResult>;
  /** Called before a statement that may have to be aborted; there is nothing left to collect. */
  collectSessionInfo(): Promise<void>;
  /** For an aborted `signal` with `inflightQueryAbortStrategy: 'cancel query'`. */
  cancelQuery(): Promise<void>;
  /** For an aborted `signal` with `inflightQueryAbortStrategy: 'kill session'`. */
  killSession(): Promise<void>;
}

/** Kysely's `ConnectionProvider`. */
interface StatementConnectionProvider {
  provideConnection<T>(consumer: (connection: StatementConnection) => Promise<T>): Promise<T>;
}

/** Kysely's `QueryExecutor`, as far as it is used here. */
interface StatementExecutor extends StatementConnectionProvider {
  readonly adapter: unknown;
  readonly plugins: readonly unknown[];
  withConnectionProvider(provider: StatementConnectionProvider): StatementExecutor;
}

/** An instance of Kysely, such as `em.getConnection().getClient()`. */
export interface KyselyClient {
  getExecutor(): StatementExecutor;
  executeQuery(query: CompiledStatement, options?: ExecuteOptions): Promise<StatementResult>;
  readonly introspection: unknown;
}

/** Kysely's constructor in its `KyselyProps` form. */
export type KyselyConstructor = new (props: {
  readonly config: object;
  readonly driver: object;
  readonly dialect: object;
  readonly executor: StatementExecutor;
}) => KyselyClient;

/** Kysely's `Command`. */
export interface Command<T> {
  execute(): Promise<T>;
}
