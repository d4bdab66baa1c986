import { HttpException, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { DocumentNode, GraphQLError, GraphQLSchema } from 'graphql';

import type { OperationError } from '../options/context-options.js';
import { errorOf, settledAnswer, shownAnswer, type Answer, type FormatError } from './answer.js';
import { copyOfContext } from './context-value.js';
import { fieldsOf } from './field-contexts.js';
import { HttpExchanges } from './http-exchanges.js';
import { operationOf } from './operation-mark.js';
import { GraphQLOperations } from './operations.js';
import { RootFieldScope } from './root-field-scope.js';
import { shapeOf, type OperationShape, type Variables } from './root-fields.js';
import { GraphQLServers } from './servers.js';
import { markSubscription, subscriptionOf } from './subscription-mark.js';
import { Subscription } from './subscription.js';

// The members of Mercurius that this library uses: its types must not be needed where Apollo Server serves.

/** The context object of an operation; Mercurius makes it before anything else, and gives it to all hooks. */
type MercuriusContext = object;

/** What executes an operation: source, context object, variables, name of the operation. */
type Execute = (
  this: unknown,
  source: unknown,
  context?: MercuriusContext,
  variables?: Variables,
  operationName?: string,
) => Promise<Answer>;

interface Mercurius extends Execute {
  readonly schema: GraphQLSchema;
  addHook(
    name: 'preExecution',
    hook: (
      schema: GraphQLSchema,
      document: DocumentNode,
      context: MercuriusContext,
      variables: Variables | undefined,
    ) => Promise<void>,
  ): void;
  addHook(
    name: 'preSubscriptionExecution',
    hook: (
      schema: GraphQLSchema,
      document: DocumentNode,
      context: MercuriusContext,
    ) => Promise<void>,
  ): void;
  addHook(
    name: 'onSubscriptionResolution',
    hook: (execution: Answer, context: MercuriusContext) => Promise<void>,
  ): void;
}

/** A Fastify application that Mercurius serves GraphQL in. */
interface MercuriusApp {
  graphql?: Mercurius;
}

type ErrorFormatter = (
  result: { readonly data: null; readonly errors: readonly GraphQLError[] },
  context: MercuriusContext,
) => {
  readonly statusCode?: number;
  readonly response: { readonly errors?: readonly unknown[] };
};

/** What Mercurius does with the errors of resolvers. */
interface ErrorOptions {
  readonly errorFormatter?: ErrorFormatter;
}

/**
 * Puts each operation of Mercurius into a context. It begins in the hook `preExecution`, when its document is
 * known to be valid, and is settled before what `app.graphql()` returns goes to the client; the hook
 * `onResolution` would come too early for the errors that Mercurius adds after it.
 */
@Injectable()
export class MercuriusOperations {
  readonly #adapterHost: HttpAdapterHost;
  readonly #operations: GraphQLOperations;
  readonly #servers: GraphQLServers;
  readonly #exchanges: HttpExchanges;
  readonly #rootFields: RootFieldScope;
  readonly #calls = new WeakMap<MercuriusContext, OperationCall>();

  constructor(
    adapterHost: HttpAdapterHost,
    operations: GraphQLOperations,
    servers: GraphQLServers,
    exchanges: HttpExchanges,
    rootFields: RootFieldScope,
  ) {
    this.#rootFields = rootFields;
    this.#adapterHost = adapterHost;
    this.#operations = operations;
    this.#servers = servers;
    this.#exchanges = exchanges;
  }

  /** Takes its place in front of `app.graphql()`, if Mercurius serves the application. */
  install(): void {
    const app = this.#adapterHost.httpAdapter?.getInstance<MercuriusApp>();
    const mercurius = app?.graphql;
    if (app === undefined || mercurius === undefined) {
      return;
    }
    this.#servers.served(mercurius.schema);
    mercurius.addHook('preExecution', (schema, document, context, variables) =>
      this.#begin(schema, document, context, variables),
    );
    mercurius.addHook('preSubscriptionExecution', async (schema, _document, context) => {
      this.#servers.served(schema);
      // Mercurius copies the context object for the resolvers.
      markSubscription(context, new Subscription(this.#operations));
    });
    mercurius.addHook('onSubscriptionResolution', async (execution, context) => {
      const subscription = subscriptionOf(context);
      // Mercurius sends this very object.
      Object.assign(execution, (await subscription?.settle(execution)) ?? shownAnswer(execution));
    });
    app.graphql = new Proxy<Mercurius>(mercurius, {
      apply: (execute: Execute, self: unknown, args: Parameters<Execute>) => {
        const [source, context = {}, variables, operationName] = args;
        return this.#execute(context, operationName, (each) =>
          execute.call(self, source, each, variables, operationName),
        );
      },
    });
  }

  async #execute(
    given: MercuriusContext,
    operationName: string | undefined,
    execute: (context: MercuriusContext) => Promise<Answer>,
  ): Promise<Answer> {
    let made: object | undefined;
    for (let attempt = 1; ; attempt++) {
      // The application may give one object to several operations, and resolvers leave things in it.
      const context = Object.assign(copyOfContext(given), made);
      const call: OperationCall = { operationName, shape: undefined, schema: undefined };
      this.#calls.set(context, call);
      try {
        const answer = await this.#settled(context, call, await execute(context));
        const operation = operationOf(context);
        const exchange = this.#exchanges.of(context);
        if (
          operation === undefined ||
          call.schema === undefined ||
          !this.#operations.mayRunAgain(operation, attempt, exchange)
        ) {
          return answer;
        }
        await this.#operations.pause(operation, attempt);
        made = await this.#servers.contextFor(call.schema, exchange);
        // The errors of the last run may have set another one.
        exchange.response?.code?.(200);
      } finally {
        operationOf(context)?.abandon();
        this.#rootFields.abandon(context);
      }
    }
  }

  async #begin(
    schema: GraphQLSchema,
    document: DocumentNode,
    context: MercuriusContext,
    variables: Variables | undefined,
  ): Promise<void> {
    // It may have been replaced since the application started.
    this.#servers.served(schema);
    const call = this.#calls.get(context);
    const shape = shapeOf(document, call?.operationName, variables);
    if (call === undefined || shape === undefined) {
      return;
    }
    try {
      if (this.#operations.areWhole) {
        const settings = this.#operations.settingsOf(shape);
        this.#operations.begin(context, shape, settings, this.#exchanges.of(context));
      } else {
        this.#rootFields.begin(context, shape);
      }
    } catch (error) {
      throw withStatus(error);
    }
    call.shape = shape;
    call.schema = schema;
  }

  async #settled(
    context: MercuriusContext,
    { shape, schema }: OperationCall,
    answer: Awaited<ReturnType<Execute>>,
  ): ReturnType<Execute> {
    // Mercurius formats the errors before anybody sees them, and what was thrown is lost.
    const formatted = (answer.errors ?? []) as readonly OperationError[];
    const operation = operationOf(context);
    const worked = operation ?? fieldsOf(context);
    const errors =
      worked === undefined
        ? formatted
        : formatted.map(({ message, path, extensions }) => ({
            message,
            path,
            extensions,
            originalError: worked.thrownAt(path),
          }));
    if (!this.#operations.areWhole) {
      const { kind = 'query' } = shape ?? {};
      const format = this.#formatterOf(schema, context);
      return this.#rootFields.answered(context, { kind, answer, errors }, format);
    }
    if (operation === undefined || shape === undefined) {
      return shownAnswer(answer);
    }
    const end = await this.#operations.conclude(operation, errors);
    return end === undefined
      ? answer
      : settledAnswer(
          answer,
          end,
          shape.kind,
          this.#formatterOf(schema, context, { setsStatus: end.kind === 'failed' }),
        );
  }

  /** What Mercurius does with the errors of resolvers. */
  #formatterOf(
    schema: GraphQLSchema | undefined,
    context: MercuriusContext,
    { setsStatus = false } = {},
  ): FormatError {
    const { errorFormatter } = (
      schema === undefined ? {} : this.#servers.optionsOf(schema)
    ) as ErrorOptions;
    return (error) => {
      if (errorFormatter === undefined) {
        return error.toJSON();
      }
      const { statusCode, response } = errorFormatter({ data: null, errors: [error] }, context);
      if (setsStatus && statusCode !== undefined) {
        this.#exchanges.of(context).response?.code?.(statusCode);
      }
      return response.errors?.[0] ?? error.toJSON();
    };
  }
}

/** One call of `app.graphql()`. */
interface OperationCall {
  readonly operationName: string | undefined;
  shape: OperationShape | undefined;
  schema: GraphQLSchema | undefined;
}

/** An error whose status Mercurius answers with. */
function withStatus(error: unknown): GraphQLError {
  const refusal = errorOf(error);
  if (refusal.originalError !== undefined && error instanceof HttpException) {
    Object.assign(refusal.originalError, { statusCode: error.getStatus() });
  }
  return refusal;
}
