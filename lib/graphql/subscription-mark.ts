import type { Subscription } from './subscription.js';

/** Where the context object of a subscription keeps its {@link Subscription}. */
const SUBSCRIPTION = Symbol('nestjs-db-context:subscription');

/** Marks a context object, and all copies of it, as that of a subscription. */
export function markSubscription(contextValue: object, subscription: Subscription): void {
  (contextValue as { [SUBSCRIPTION]?: Subscription })[SUBSCRIPTION] = subscription;
}

/** The subscription that a context object belongs to. */
export function subscriptionOf(contextValue: unknown): Subscription | undefined {
  return (contextValue as { readonly [SUBSCRIPTION]?: Subscription } | null | undefined)?.[
    SUBSCRIPTION
  ];
}
