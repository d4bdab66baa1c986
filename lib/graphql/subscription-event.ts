import type { GraphQLResolveInfo } from 'graphql';

import type { GraphQLOperation } from './operation.js';

/**
 * One event of a subscription. It takes the place of what was published as the root value of its execution,
 * so that resolvers that go on after its end are not taken for resolvers of the next one, with which it
 * shares the context object of the server.
 */
export class SubscriptionEvent {
  readonly payload: unknown;
  /** The context object that its resolvers get: loaders are kept by it, and must not outlive the event. */
  readonly contextValue: unknown;
  /** `undefined` where its context could not be opened. */
  readonly operation: GraphQLOperation | undefined;
  readonly refusal: unknown;

  constructor(
    payload: unknown,
    contextValue: unknown,
    operation: GraphQLOperation | undefined,
    refusal?: unknown,
  ) {
    this.payload = payload;
    this.contextValue = contextValue;
    this.operation = operation;
    this.refusal = refusal;
  }
}

/** The event that a resolver runs for. */
export function eventOf({ rootValue }: GraphQLResolveInfo): SubscriptionEvent | undefined {
  return rootValue instanceof SubscriptionEvent ? rootValue : undefined;
}
