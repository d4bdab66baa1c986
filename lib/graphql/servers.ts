import { Injectable } from '@nestjs/common';
import { HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { GraphQLModule } from '@nestjs/graphql';
import type { GraphQLFieldResolver, GraphQLSchema } from 'graphql';

import { InvalidOptionsError } from '../errors.js';
import { InstrumentedSchemas } from './instrumented-schema.js';
import { GraphQLOperations } from './operations.js';

/** The options of `GraphQLModule`, completed with what the module has made of them. */
export interface ServerOptions {
  readonly schema?: GraphQLSchema;
  readonly fieldResolver?: GraphQLFieldResolver<unknown, unknown>;
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
    this.#schemas = new InstrumentedSchemas(operations);
  }

  /** The options of the server of a schema. */
  optionsOf(schema: GraphQLSchema): ServerOptions {
    return this.all().find((options) => options.schema === schema) ?? {};
  }

  /** The options of all servers. */
  all(): ServerOptions[] {
    return [...this.#modules.values()].flatMap(({ metatype, instance }) =>
      metatype === GraphQLModule
        ? [((instance as unknown as GraphQLModule).completeOptions ?? {}) as ServerOptions]
        : [],
    );
  }

  /** Makes the fields of a schema work in the contexts of operations. */
  served(schema: GraphQLSchema): void {
    if (this.#operations.areWhole) {
      this.#schemas.add(schema, this.optionsOf(schema).fieldResolver);
    }
  }

  /** @throws {@link InvalidOptionsError} a server does not know of this library */
  assertAllServed(): void {
    const servers = this.all();
    if (servers.length === 0) {
      throw new InvalidOptionsError(
        'DbContextGraphQLModule finds no GraphQLModule. Import GraphQLModule.forRoot() of ' +
          '"@nestjs/graphql", too, with the driver of Apollo Server or of Mercurius.',
      );
    }
    if (!this.#operations.areWhole || this.#adapterHost.httpAdapter === undefined) {
      return;
    }
    for (const { schema } of servers) {
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
