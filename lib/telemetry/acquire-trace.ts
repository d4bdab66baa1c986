import { acquire } from './channels.js';
import { AcquireEvent, type EventOrigin } from './operation-events.js';

/** Publishes the wait for a connection; called where somebody listens. */
export function tracedAcquire<T>(origin: EventOrigin, take: () => Promise<T>): Promise<T> {
  const event = new AcquireEvent(origin);
  return acquire.run(event, take, event);
}
