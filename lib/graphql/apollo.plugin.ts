import { HttpException, Injectable, SetMetadata } from '@nestjs/common';
import type { GraphQLError, GraphQLSchema } from 'graphql';

import { errorOf, settledAnswer, shownAnswer, type FormatError } from './answer.js';
import { shownBody } from './apollo-body.js';
import type { ApolloRequestContext } from './apollo-request.js';
import { listenToRootFields } from './apollo-root-fields.js';
import { WebSocketOperations } from './graphql-ws.js';
import { HttpExchanges } from './http-exchanges.js';
import { operationOf } from './operation-mark.js';
import type { GraphQLOperation } from './operation.js';
import { GraphQLOperations } from './operations.js';
import { OtherPlugins, type ServerWithPlugins } from './other-plugins.js';
import { closeSource } from './outside-source.js';
import { RootFieldScope } from './root-field-scope.js';
import { shapeOf, type OperationShape } from './root-fields.js';
import { GraphQLServers } from './servers.js';

// The members of Apollo Server that this library uses: its types must not be needed where Mercurius serves.

interface ApolloServerLike extends ServerWithPlugins {
  executeOperation(request: object, options: { readonly contextValue: object }): Promise<unknown>;
}

interface ApolloDriverLike {
  readonly instance: ApolloServerLike;
}

/** One run of an operation that may run again; Apollo Server copies the context object that holds it. */
interface Attempt {
  operation: GraphQLOperation | undefined;
}

const ATTEMPT = Symbol('nestjs-db-context:attempt');

interface ApolloServerService {
  readonly schema: GraphQLSchema;
}

/** Where @nestjs/apollo keeps the mark of its decorator `@Plugin()`; a spec fails when it moves. */
const PLUGIN_METADATA = 'graphql:plugin';

/**
 * The plugin of Apollo Server: begins an operation when its document is known to be valid, and settles it
 * when all fields have been resolved, before any other plugin sees the answer.
 */
@Injectable()
@SetMetadata(PLUGIN_METADATA, {})
export class ApolloOperationsPlugin {
  readonly #operations: GraphQLOperations;
  readonly #servers: GraphQLServers;
  readonly #exchanges: HttpExchanges;
  readonly #webSocket: WebSocketOperations;
  readonly #rootFields: RootFieldScope;
  readonly #others = new OtherPlugins();

  constructor(
    operations: GraphQLOperations,
    servers: GraphQLServers,
    exchanges: HttpExchanges,
    webSocket: WebSocketOperations,
    rootFields: RootFieldScope,
  ) {
    this.#rootFields = rootFields;
    this.#webSocket = webSocket;
    this.#operations = operations;
    this.#servers = servers;
    this.#exchanges = exchanges;
  }

  /** Looks at the other plugins of all servers, which have been started. */
  install(): void {
    for (const driver of this.#servers.drivers) {
      const { instance } = driver as Partial<ApolloDriverLike>;
      // The driver of Mercurius has Fastify here.
      if (instance !== undefined && 'executeOperation' in instance) {
        this.#others.watch(instance, this);
      }
    }
  }

  async serverWillStart({ schema }: ApolloServerService): Promise<object> {
    this.#servers.served(schema);
    this.#webSocket.install(schema);
    return {
      schemaDidLoadOrUpdate: ({ apiSchema }: { readonly apiSchema: GraphQLSchema }): void =>
        this.#servers.served(apiSchema),
    };
  }

  async requestDidStart(): Promise<object> {
    return this.#operations.areWhole
      ? this.#ofWholeOperation()
      : listenToRootFields({
          scope: this.#rootFields,
          others: this.#others,
          formatterOf: (schema) => this.#formatterOf(schema),
        });
  }

  #ofWholeOperation(): object {
    let shape: OperationShape | undefined;
    let isRetried = false;
    const settle = async (requestContext: ApolloRequestContext): Promise<void> => {
      const operation = operationOf(requestContext.contextValue);
      if (operation !== undefined && shape !== undefined) {
        await this.#settle(operation, shape, requestContext);
      }
    };
    return {
      didResolveOperation: async (requestContext: ApolloRequestContext) => {
        const { document, request } = requestContext;
        shape = document && shapeOf(document, request.operationName, request.variables);
        if (shape !== undefined) {
          isRetried = this.#begin(shape, requestContext) === 'retried';
        }
      },
      responseForOperation: async (requestContext: ApolloRequestContext) =>
        isRetried ? this.#runAttempts(requestContext) : null,
      executionDidStart: async (requestContext: ApolloRequestContext) => ({
        executionDidEnd: async (error?: Error) => {
          await this.#others.haveEnded(requestContext);
          await (error === undefined
            ? settle(requestContext)
            : this.unexpectedErrorProcessingRequest({ requestContext }));
        },
      }),
      willSendResponse: async (requestContext: ApolloRequestContext) => {
        // Another plugin may have answered or failed, so that nothing was executed.
        await settle(requestContext);
        const { body } = requestContext.response;
        if (body !== undefined) {
          requestContext.response.body = shownBody(body, shownAnswer);
        }
      },
    };
  }

  async unexpectedErrorProcessingRequest({
    requestContext,
  }: {
    readonly requestContext: ApolloRequestContext;
  }): Promise<void> {
    operationOf(requestContext.contextValue)?.abandon();
    this.#rootFields.abandon(requestContext.contextValue);
  }

  /** @returns `retried` where each run of the operation begins by itself */
  #begin(shape: OperationShape, { contextValue }: ApolloRequestContext): 'begun' | 'retried' {
    try {
      const settings = this.#operations.settingsOf(shape);
      const attempt = (contextValue as { readonly [ATTEMPT]?: Attempt })[ATTEMPT];
      if (attempt === undefined && settings.retried !== undefined && settings.hasOneField) {
        return 'retried';
      }
      const exchange = this.#exchanges.of(contextValue);
      const operation = this.#operations.begin(contextValue, shape, settings, exchange);
      if (attempt !== undefined) {
        attempt.operation = operation;
      }
      return 'begun';
    } catch (error) {
      throw errorOf(error, error instanceof HttpException ? error.getStatus() : 500);
    }
  }

  /** Hands the operation to the server again, as often as its resolver allows, and answers with the last. */
  async #runAttempts({
    contextValue,
    request,
    schema,
    source,
  }: ApolloRequestContext): Promise<unknown> {
    const { instance: server } = this.#servers.driverOf(schema) as ApolloDriverLike;
    const exchange = this.#exchanges.of(contextValue);
    const { persistedQuery: _, ...extensions } = request.extensions ?? {};
    let values = contextValue;
    for (let number = 1; ; number++) {
      const attempt: Attempt = { operation: undefined };
      const response = await server.executeOperation(
        { ...request, query: source, extensions },
        {
          contextValue: Object.assign(Object.create(Object.getPrototypeOf(values)), values, {
            [ATTEMPT]: attempt,
          }),
        },
      );
      const { operation } = attempt;
      if (operation === undefined || !this.#operations.mayRunAgain(operation, number, exchange)) {
        return response;
      }
      await this.#operations.pause(operation, number);
      values = (await this.#servers.contextFor(schema, exchange)) ?? contextValue;
    }
  }

  async #settle(
    operation: GraphQLOperation,
    shape: OperationShape,
    requestContext: ApolloRequestContext,
  ): Promise<void> {
    const { body } = requestContext.response;
    if (body?.kind === 'incremental') {
      const singleResult = await this.#operations.refuseIncremental(
        operation,
        this.#formatterOf(requestContext.schema),
      );
      requestContext.response.body = { kind: 'single', singleResult };
      await closeSource(body.subsequentResults[Symbol.asyncIterator]());
      return;
    }
    const { errors = [], contextValue } = requestContext;
    const end = await this.#operations.conclude(operation, errors);
    if (!operation.settings.hasOneField) {
      // It never may; this is for the log.
      this.#operations.mayRunAgain(operation, 1, this.#exchanges.of(contextValue));
    }
    if (end?.kind === 'failed') {
      requestContext.errors = [...errors, errorOf(end.error)];
      await this.#others.didEncounterErrors(requestContext);
    }
    if (end !== undefined && body !== undefined) {
      requestContext.response.body = {
        ...body,
        singleResult: settledAnswer(
          body.singleResult,
          end,
          shape.kind,
          this.#formatterOf(requestContext.schema),
        ),
      };
    }
  }

  /** What Apollo Server does with the errors of resolvers. */
  #formatterOf(schema: GraphQLSchema): FormatError {
    const { formatError } = this.#servers.optionsOf(schema) as {
      formatError?: (formatted: object, error: GraphQLError) => object;
    };
    return (error) => formatError?.(error.toJSON(), error) ?? error.toJSON();
  }
}
