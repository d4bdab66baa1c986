import type { EndCause } from '../errors.js';
import { acquire, lend } from './channels.js';
import { AcquireEvent, LendEvent } from './connection-events.js';
import type { EventOrigin } from './operation-events.js';

/** Publishes the wait for a connection; called where somebody listens. */
export function tracedAcquire<T>(
  origin: EventOrigin,
  unit: { readonly endCause?: EndCause | undefined } | undefined,
  take: () => Promise<T>,
): Promise<T> {
  const event = new AcquireEvent(origin, unit);
  return acquire.run(event, take, event);
}

/** Publishes the loan of a client; called where somebody listens. */
export function tracedLoan<T>(origin: EventOrigin, run: () => Promise<T>): Promise<T> {
  const event = new LendEvent(origin);
  return lend.run(event, run, event);
}
