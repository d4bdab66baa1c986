import { Injectable } from '@nestjs/common';

import { INTERCEPTORS_METADATA, type NamedInterceptor } from '../transport/route-interceptors.js';
import { filterNow } from './event-filter.js';
import { RESOLVER_INTERCEPTOR } from './resolver-interceptor.js';
import { ResolverRoutes } from './resolver-routes.js';

/** Where `@Subscription()` keeps its options; a spec fails when it moves. */
const SUBSCRIPTION_OPTIONS_METADATA = 'graphql:subscription_options;';

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

/**
 * Puts an interceptor on the methods that resolve fields, and the filters of subscriptions into contexts: both
 * servers run the filters out of reach, inside of the source of the events. All of it is read from decorators
 * as the module of GraphQL starts: the constructor comes before that.
 */
@Injectable()
export class ResolverMethods {
  constructor(routes: ResolverRoutes) {
    for (const { handler } of routes.handlers()) {
      intercept(handler);
      putFilterInContext(handler);
    }
  }
}

// Another application of this process may have the same class.

function intercept(handler: object): void {
  const interceptors = (Reflect.getMetadata(INTERCEPTORS_METADATA, handler) ??
    []) as readonly NamedInterceptor[];
  if (!interceptors.includes(RESOLVER_INTERCEPTOR)) {
    Reflect.defineMetadata(INTERCEPTORS_METADATA, [RESOLVER_INTERCEPTOR, ...interceptors], handler);
  }
}

function putFilterInContext(handler: object): void {
  const options = Reflect.getMetadata(SUBSCRIPTION_OPTIONS_METADATA, handler) as
    | SubscriptionOptions
    | undefined;
  if (options?.filter !== undefined && options.filter[IN_CONTEXT] !== true) {
    const filter = inContext(options.filter);
    Reflect.defineMetadata(SUBSCRIPTION_OPTIONS_METADATA, { ...options, filter }, handler);
  }
}

function inContext(own: Filter): Filter {
  function filter(this: unknown, ...[payload, variables, contextValue]: Parameters<Filter>) {
    const subscription = filterNow();
    return subscription === undefined
      ? own.call(this, payload, variables, contextValue)
      : subscription.filter(payload, (ofEvent) => own.call(this, payload, variables, ofEvent));
  }
  return Object.assign(filter, { [IN_CONTEXT]: true });
}
