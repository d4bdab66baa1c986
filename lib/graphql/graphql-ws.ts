import { Injectable } from '@nestjs/common';
import {
  execute as executeByDefault,
  subscribe as subscribeByDefault,
  type DocumentNode,
  type GraphQLSchema,
} from 'graphql';

import type { OperationError } from '../options/context-options.js';
import { errorOf, settledAnswer, shownAnswer, type Answer } from './answer.js';
import { copyOfContext } from './context-value.js';
import { closeSource, isAsyncIterable } from './outside-source.js';
import type { GraphQLOperation } from './operation.js';
import { GraphQLOperations } from './operations.js';
import { RootFieldScope } from './root-field-scope.js';
import { shapeOf, type OperationShape, type Variables } from './root-fields.js';
import { GraphQLServers } from './servers.js';
import { SettledEvents } from './settled-events.js';
import { shownPayloads } from './shown-payloads.js';
import { markSubscription } from './subscription-mark.js';
import { Subscription } from './subscription.js';

// The members of graphql-ws, and of its options in `GraphQLModule`, that this library uses.

interface ExecutionArgs {
  readonly schema: GraphQLSchema;
  readonly document: DocumentNode;
  readonly contextValue?: unknown;
  readonly variableValues?: Variables | null;
  readonly operationName?: string | null;
}

interface Executors {
  readonly execute?: (args: ExecutionArgs) => unknown;
  readonly subscribe?: (args: ExecutionArgs) => unknown;
}

interface SubscriptionsConfig extends Executors {
  readonly 'graphql-ws'?: Executors | boolean;
}

/** The options of `GraphQLModule` of Apollo Server, which its driver reads when the server has started. */
interface ApolloOptions {
  readonly installSubscriptionHandlers?: boolean;
  subscriptions?: SubscriptionsConfig;
}

/**
 * Puts what Apollo Server's driver leaves to graphql-ws into contexts: queries and mutations over a
 * WebSocket, and the events of subscriptions. No plugin of Apollo Server hears of them.
 */
@Injectable()
export class WebSocketOperations {
  readonly #operations: GraphQLOperations;
  readonly #servers: GraphQLServers;
  readonly #rootFields: RootFieldScope;

  constructor(operations: GraphQLOperations, servers: GraphQLServers, rootFields: RootFieldScope) {
    this.#rootFields = rootFields;
    this.#operations = operations;
    this.#servers = servers;
  }

  /** Takes its place around what graphql-ws is to execute with, for the server of a schema. */
  install(schema: GraphQLSchema): void {
    const options = this.#servers.optionsOf(schema) as ApolloOptions;
    const { installSubscriptionHandlers, subscriptions } = options;
    if (!installSubscriptionHandlers && !subscriptions) {
      return;
    }
    const { 'graphql-ws': given = {}, ...others } = subscriptions ?? {};
    const own = typeof given === 'boolean' ? {} : given;
    const execute = own.execute ?? others.execute ?? executeByDefault;
    const subscribe = own.subscribe ?? others.subscribe ?? subscribeByDefault;
    options.subscriptions = {
      ...others,
      'graphql-ws': {
        ...own,
        execute: (args) => this.#execute(execute, args),
        subscribe: (args) => this.#subscribe(subscribe, args),
      },
    };
  }

  async #subscribe(
    subscribe: (args: ExecutionArgs) => unknown,
    args: ExecutionArgs,
  ): Promise<unknown> {
    this.#servers.served(args.schema);
    const contextValue = copyOfContext(args.contextValue);
    const subscription = new Subscription(this.#operations);
    markSubscription(contextValue, subscription);
    const settle = (answer: Answer): Promise<Answer> => subscription.settle(answer);
    const events = await subscribe({ ...args, contextValue });
    return isAsyncIterable(events)
      ? new SettledEvents(settle, events[Symbol.asyncIterator]() as AsyncIterator<Answer>)
      : events;
  }

  async #execute(execute: (args: ExecutionArgs) => unknown, args: ExecutionArgs): Promise<unknown> {
    this.#servers.served(args.schema);
    const shape = shapeOf(args.document, args.operationName, args.variableValues ?? {});
    for (let attempt = 1; ; attempt++) {
      const contextValue = copyOfContext(args.contextValue);
      let operation: GraphQLOperation | undefined;
      try {
        operation = shape && this.#begin(contextValue, shape);
      } catch (error) {
        return { errors: [errorOf(error)] };
      }
      const run = async (): Promise<Answer> => (await execute({ ...args, contextValue })) as Answer;
      if (operation === undefined || shape === undefined) {
        const answer = await run();
        return isAsyncIterable(answer) ? shownPayloads(answer) : shownAnswer(answer);
      }
      try {
        const answer = await this.#settled(operation, shape, await run());
        const exchange = this.#operations.exchangeOf(contextValue);
        if (!this.#operations.mayRunAgain(operation, attempt, exchange)) {
          return answer;
        }
        await this.#operations.pause(operation, attempt);
      } finally {
        operation.abandon();
      }
    }
  }

  #begin(contextValue: object, shape: OperationShape): GraphQLOperation | undefined {
    if (!this.#operations.areWhole) {
      this.#rootFields.begin(contextValue, shape);
      return undefined;
    }
    const settings = this.#operations.settingsOf(shape);
    const exchange = this.#operations.exchangeOf(contextValue);
    return this.#operations.begin(contextValue, shape, settings, exchange);
  }

  async #settled(
    operation: GraphQLOperation,
    { kind }: OperationShape,
    answer: Answer,
  ): Promise<Answer> {
    if (isAsyncIterable(answer) || 'initialResult' in answer) {
      const { subsequentResults = answer } = answer as { readonly subsequentResults?: unknown };
      await closeSource(
        isAsyncIterable(subsequentResults) ? subsequentResults[Symbol.asyncIterator]() : undefined,
      );
      return this.#operations.refuseIncremental(operation, (error) => error);
    }
    const errors = (answer.errors ?? []) as readonly OperationError[];
    const end = await this.#operations.conclude(operation, errors);
    // graphql-ws wants the errors as graphql-js made them, and formats none.
    return end === undefined ? answer : settledAnswer(answer, end, kind, (error) => error);
  }
}
