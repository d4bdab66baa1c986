export { DbContextGraphQLModule } from './db-context-graphql.module.js';
export type { DbContextGraphQLOptions } from './graphql-options.js';
