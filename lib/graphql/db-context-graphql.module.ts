import { Module, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';

import { ApolloOperationsPlugin } from './apollo.plugin.js';
import { GRAPHQL_OPTIONS, type DbContextGraphQLOptions } from './graphql-options.js';
import { WebSocketOperations } from './graphql-ws.js';
import { HttpExchanges } from './http-exchanges.js';
import { MercuriusOperations } from './mercurius.js';
import { GraphQLOperations } from './operations.js';
import { OperationContexts } from './operation-contexts.js';
import { ResolverRoutes } from './resolver-routes.js';
import { GraphQLServers } from './servers.js';
import { SubscriptionMethods } from './subscription-methods.js';

/**
 * Gives each GraphQL operation one context: its guards, resolvers of all fields, loaders and lazy relations
 * work in one session and one transaction, which is settled before the answer is sent. It finds the servers
 * of `GraphQLModule` by itself: Apollo Server (`@nestjs/apollo`) and Mercurius (`@nestjs/mercurius`).
 *
 * An operation with errors is rolled back by default; `commitOn` and `@CommitOn()` get them as `errors`.
 *
 * @throws {@link InvalidOptionsError} at boot: there is no `GraphQLModule`, or one that cannot be served
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
  readonly #mercurius: MercuriusOperations;

  /** @internal */
  constructor(servers: GraphQLServers, mercurius: MercuriusOperations) {
    this.#servers = servers;
    this.#mercurius = mercurius;
  }

  /**
   * Serves all imports of `GraphQLModule`.
   *
   * @param options how operations run
   * @returns the module, to be imported once, in the AppModule
   */
  static forRoot(options: DbContextGraphQLOptions = {}): DynamicModule {
    return {
      module: DbContextGraphQLModule,
      providers: [
        { provide: GRAPHQL_OPTIONS, useValue: options },
        ResolverRoutes,
        SubscriptionMethods,
        OperationContexts,
        GraphQLOperations,
        GraphQLServers,
        HttpExchanges,
        WebSocketOperations,
        ApolloOperationsPlugin,
        MercuriusOperations,
      ],
    };
  }

  /**
   * All servers have been started by this hook, and none answers yet.
   *
   * @internal
   */
  onApplicationBootstrap(): void {
    this.#mercurius.install();
    this.#servers.assertAllServed();
  }
}
