import { Injectable } from '@nestjs/common';
import { HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { GraphQLModule } from '@nestjs/graphql';
import type { GraphQLFieldResolver, GraphQLSchema } from 'graphql';

import { InvalidOptionsError } from '../errors.js';
import type { Exchange } from './exchange.js';
import { InstrumentedSchemas } from './instrumented-schema.js';
import { GraphQLOperations } from './operations.js';

/** The options of `GraphQLModule`, completed with what the module has made of them. */
export interface ServerOptions {
  /** Makes the context object of an operation; Nest always gives one. */
  readonly context?: (...args: unknown[]) => object | Promise<object>;
  readonly schema?: GraphQLSchema;
  readonly fieldResolver?: GraphQLFieldResolver<unknown, unknown>;
}

/** The driver of a server. */
interface Driver {
  stop?: () => Promise<void>;
}

interface GraphQLServer {
  readonly module: GraphQLModule;
  readonly options: ServerOptions;
}

/** The GraphQL servers of the application: the imports of `GraphQLModule`. */
@Injectable()
export class GraphQLServers {
  readonly #modules: ModulesContainer;
  readonly #adapterHost: HttpAdapterHost;
  readonly #operations: GraphQLOperations;
  readonly #schemas: InstrumentedSchemas;

  constructor(
    modules: ModulesContainer,
    adapterHost: HttpAdapterHost,
    operations: GraphQLOperations,
  ) {
    this.#modules = modules;
    this.#adapterHost = adapterHost;
    this.#operations = operations;
    this.#schemas = new InstrumentedSchemas();
  }

  /** The options of the server of a schema. */
  optionsOf(schema: GraphQLSchema): ServerOptions {
    return this.#find(schema)?.options ?? {};
  }

  /** The driver of the server of a schema. */
  driverOf(schema: GraphQLSchema): object | undefined {
    return this.#find(schema)?.module.graphQlAdapter;
  }

  /**
   * A new context object for an operation that runs again, so that nothing of its last run is in it.
   *
   * @returns `undefined` where the server has not made the last one: the operation is of no HTTP request
   */
  async contextFor(
    schema: GraphQLSchema,
    { request, response }: Exchange,
  ): Promise<object | undefined> {
    const { context } = this.optionsOf(schema);
    if (response === undefined) {
      return undefined;
    }
    // Express gets both in one object, Fastify one after the other.
    return response.raw === undefined
      ? context?.({ req: request, res: response })
      : context?.(request, response);
  }

  /** The drivers of all servers. */
  get drivers(): readonly Driver[] {
    return this.#all().flatMap(({ module }) => module.graphQlAdapter ?? []);
  }

  /**
   * Lets what runs be answered, or cut off, within the limit of a shutdown, before the servers stop (H3): the
   * drivers stop before anything else of it, and wait for connections, by limits of their own.
   */
  drainBeforeStop(): void {
    for (const driver of this.drivers) {
      const stop = driver.stop?.bind(driver);
      driver.stop = async () => {
        await this.#operations.drain();
        await stop?.();
      };
    }
  }

  #find(schema: GraphQLSchema): GraphQLServer | undefined {
    return this.#all().find(({ options }) => options.schema === schema);
  }

  #all(): GraphQLServer[] {
    return [...this.#modules.values()].flatMap(({ metatype, instance }) => {
      const module = instance as unknown as GraphQLModule;
      return metatype === GraphQLModule
        ? [{ module, options: (module.completeOptions ?? {}) as ServerOptions }]
        : [];
    });
  }

  /** Makes the fields of a schema work in the contexts of operations. */
  served(schema: GraphQLSchema): void {
    this.#schemas.add(schema, this.optionsOf(schema).fieldResolver);
  }

  /** @throws {@link InvalidOptionsError} a server does not know of this library, or knows it twice */
  assertAllServed(): void {
    const installed = [...this.#modules.values()].filter((each) =>
      each.hasProvider(GraphQLServers),
    );
    if (installed.length > 1) {
      throw new InvalidOptionsError(
        'DbContextGraphQLModule.forRoot() is imported twice. Import it once, in the AppModule; it serves all ' +
          'imports of GraphQLModule.',
      );
    }
    const servers = this.#all();
    if (servers.length === 0) {
      throw new InvalidOptionsError(
        'DbContextGraphQLModule finds no GraphQLModule. Import GraphQLModule.forRoot() of ' +
          '"@nestjs/graphql", too, with the driver of Apollo Server or of Mercurius.',
      );
    }
    if (!this.#operations.areWhole || this.#adapterHost.httpAdapter === undefined) {
      return;
    }
    for (const { options } of servers) {
      const { schema } = options;
      if (schema !== undefined && schema !== null && !this.#schemas.has(schema)) {
        throw new InvalidOptionsError(
          'A GraphQLModule serves a schema without the contexts of DbContextGraphQLModule. Its driver has ' +
            'to be one of "@nestjs/apollo" or "@nestjs/mercurius", and where it has the option "include", ' +
            'DbContextGraphQLModule has to be in that list.',
        );
      }
    }
  }
}
