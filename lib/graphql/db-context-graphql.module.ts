import { Module, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';

import { ApolloOperationsPlugin } from './apollo.plugin.js';
import {
  checkGraphQLOptions,
  GRAPHQL_OPTIONS,
  type DbContextGraphQLOptions,
} from './graphql-options.js';
import { WebSocketOperations } from './graphql-ws.js';
import { HttpExchanges } from './http-exchanges.js';
import { MercuriusOperations } from './mercurius.js';
import { GraphQLOperations } from './operations.js';
import { OperationContexts } from './operation-contexts.js';
import { ResolverMethods } from './resolver-methods.js';
import { ResolverRoutes } from './resolver-routes.js';
import { RootFieldScope } from './root-field-scope.js';
import { GraphQLServers } from './servers.js';

/**
 * Gives each GraphQL operation one context: its guards, resolvers of all fields, loaders and lazy relations
 * work in one session and one transaction, which is settled before the answer is sent. It finds the servers
 * of `GraphQLModule` by itself: Apollo Server (`@nestjs/apollo`) and Mercurius (`@nestjs/mercurius`).
 *
 * An operation with errors is rolled back by default; `commitOn` and `@CommitOn()` get them as `errors`.
 *
 * @throws {@link InvalidOptionsError} at boot: there is no `GraphQLModule` or no `DbContextModule`, one that
 *   cannot be served, a resolver with `@UseAfterCommit()`, or the module is imported twice
 * @example
 * ```ts
 * @Module({
 *   imports: [
 *     DbContextModule.forRoot(options),
 *     GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
 *     DbContextGraphQLModule.forRoot(),
 *   ],
 * })
 * export class AppModule {}
 * ```
 * @publicApi
 */
@Module({})
export class DbContextGraphQLModule implements OnApplicationBootstrap {
  readonly #servers: GraphQLServers;
  readonly #apollo: ApolloOperationsPlugin;
  readonly #mercurius: MercuriusOperations;
  readonly #routes: ResolverRoutes;
  readonly #operations: GraphQLOperations;

  /** @internal */
  constructor(
    servers: GraphQLServers,
    apollo: ApolloOperationsPlugin,
    mercurius: MercuriusOperations,
    routes: ResolverRoutes,
    operations: GraphQLOperations,
  ) {
    this.#operations = operations;
    this.#servers = servers;
    this.#apollo = apollo;
    this.#mercurius = mercurius;
    this.#routes = routes;
  }

  /**
   * Serves all imports of `GraphQLModule`.
   *
   * @param options how operations run
   * @returns the module, to be imported once, in the AppModule
   * @throws {@link InvalidOptionsError} an option is unknown, or has no effect
   */
  static forRoot(options: DbContextGraphQLOptions = {}): DynamicModule {
    return {
      module: DbContextGraphQLModule,
      providers: [
        { provide: GRAPHQL_OPTIONS, useValue: checkGraphQLOptions(options) },
        ResolverRoutes,
        ResolverMethods,
        OperationContexts,
        GraphQLOperations,
        GraphQLServers,
        HttpExchanges,
        RootFieldScope,
        WebSocketOperations,
        ApolloOperationsPlugin,
        MercuriusOperations,
      ],
    };
  }

  /** Nest calls it: all servers have been started by then, and none answers yet. */
  onApplicationBootstrap(): void {
    this.#mercurius.install();
    this.#apollo.install();
    this.#routes.assertNoneAfterCommit(this.#operations.areWhole ? 'all' : 'subscriptions');
    this.#servers.drainBeforeStop();
    this.#servers.assertAllServed();
  }
}
