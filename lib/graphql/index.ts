/**
 * A context for each GraphQL operation, see docs/graphql.md.
 *
 * @packageDocumentation
 */
export { DbContextGraphQLModule } from './db-context-graphql.module.js';
export type { DbContextGraphQLOptions } from './graphql-options.js';
