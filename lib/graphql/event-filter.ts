import { AsyncLocalStorage } from 'node:async_hooks';

/** What runs the filter of a subscription. */
export interface EventFilter {
  /** @param filter gets the context object of the event */
  filter(payload: unknown, filter: (contextValue: unknown) => unknown): Promise<unknown>;
}

/** The subscription whose source is asked for its next event, so that its filter runs for that. */
const asking = new AsyncLocalStorage<EventFilter>();

/** Asks a source for the next event of a subscription. */
export function filtering<T>(subscription: EventFilter, next: () => T): T {
  return asking.run(subscription, next);
}

/** What the filter that is being called belongs to. */
export function filterNow(): EventFilter | undefined {
  return asking.getStore();
}
