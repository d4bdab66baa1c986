/**
 * Options of `DbContextGraphQLModule.forRoot()`.
 *
 * @publicApi
 */
export interface DbContextGraphQLOptions {
  /**
   * What has a context of its own. `operation`: a whole query or mutation, with its guards, field
   * resolvers and loaders, and each event of a subscription. `root-field`: each root field by itself, from
   * its interceptors to the value that its resolver returns; nothing else has a session.
   * @defaultValue 'operation'
   */
  readonly scope?: 'operation' | 'root-field';
  /**
   * Whether the transactions of queries are read-only, so that replicas may serve them. A `readOnly` of
   * `@DbTransaction()` or of the `transaction` of a connection wins. With `scope: 'operation'` only.
   * @defaultValue false
   */
  readonly readOnlyQueries?: boolean;
}

/** Injection token of {@link DbContextGraphQLOptions}. */
export const GRAPHQL_OPTIONS = Symbol('nestjs-db-context:graphql-options');
