import { AsyncLocalStorage } from 'node:async_hooks';

import { Injectable } from '@nestjs/common';

import { ResolverRoutes } from './resolver-routes.js';

/** Where `@Subscription()` keeps its options; a spec fails when it moves. */
const SUBSCRIPTION_OPTIONS_METADATA = 'graphql:subscription_options;';

/** What runs the filter of a subscription. */
export interface EventFilter {
  /** @param filter gets the context object of the event */
  filter(payload: unknown, filter: (contextValue: unknown) => unknown): Promise<unknown>;
}

type Filter = (
  this: unknown,
  payload: unknown,
  variables: unknown,
  contextValue: unknown,
) => unknown;

interface SubscriptionOptions {
  readonly filter?: Filter & { readonly [IN_CONTEXT]?: true };
}

const IN_CONTEXT = Symbol('nestjs-db-context:filter');

/** The subscription whose source is asked for its next event, so that its filter runs for that. */
const asking = new AsyncLocalStorage<EventFilter>();

/** Asks a source for the next event of a subscription. */
export function filtering<T>(subscription: EventFilter, next: () => T): T {
  return asking.run(subscription, next);
}

/**
 * Puts the filters of subscriptions into the contexts of their events. Both servers run them out of reach,
 * inside of the source of the events, and take them from the decorator as the module of GraphQL starts: the
 * constructor comes before that.
 */
@Injectable()
export class SubscriptionFilters {
  constructor(routes: ResolverRoutes) {
    for (const { handler } of routes.handlers()) {
      const options = Reflect.getMetadata(SUBSCRIPTION_OPTIONS_METADATA, handler) as
        | SubscriptionOptions
        | undefined;
      // Another application of this process may have the same class.
      if (options?.filter !== undefined && options.filter[IN_CONTEXT] !== true) {
        const filter = inContext(options.filter);
        Reflect.defineMetadata(SUBSCRIPTION_OPTIONS_METADATA, { ...options, filter }, handler);
      }
    }
  }
}

function inContext(own: Filter): Filter {
  function filter(this: unknown, ...[payload, variables, contextValue]: Parameters<Filter>) {
    const subscription = asking.getStore();
    return subscription === undefined
      ? own.call(this, payload, variables, contextValue)
      : subscription.filter(payload, (ofEvent) => own.call(this, payload, variables, ofEvent));
  }
  return Object.assign(filter, { [IN_CONTEXT]: true });
}
