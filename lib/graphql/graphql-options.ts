import { inspect } from 'node:util';

import { InvalidOptionsError } from '../errors.js';
import { checkKeys } from '../options/option-keys.js';

/**
 * Options of `DbContextGraphQLModule.forRoot()`.
 *
 * @publicApi
 */
export interface DbContextGraphQLOptions {
  /**
   * What has a context of its own. `operation`: a whole query or mutation, with its guards, field
   * resolvers and loaders, and each event of a subscription. `root-field`: each root field of a query or
   * mutation by itself, from its interceptors to the value that its resolver returns; nothing else of it has a
   * session, but for guards and field resolvers beside `mount: 'middleware'`.
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

const SCOPES: readonly DbContextGraphQLOptions['scope'][] = ['operation', 'root-field'];

/**
 * Checks options that come from the environment or from JavaScript, before any provider is made.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkGraphQLOptions(options: DbContextGraphQLOptions): DbContextGraphQLOptions {
  const where = 'DbContextGraphQLModule.forRoot()';
  checkKeys(options, 'graphql', where);
  const { scope = 'operation', readOnlyQueries } = options;
  if (!SCOPES.includes(scope)) {
    throw new InvalidOptionsError(
      `${where} was given scope: ${inspect(scope)}. Give one of ${SCOPES.join(', ')}.`,
    );
  }
  if (scope === 'root-field' && readOnlyQueries === true) {
    throw new InvalidOptionsError(
      `${where} was given readOnlyQueries, which has no effect with scope: 'root-field'. Mark the resolvers ` +
        'with @DbTransaction({ readOnly: true }), or leave the scope out.',
    );
  }
  return options;
}

/** Injection token of {@link DbContextGraphQLOptions}. */
export const GRAPHQL_OPTIONS = Symbol('nestjs-db-context:graphql-options');
