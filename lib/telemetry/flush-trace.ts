import { flush } from './channels.js';
import { FlushEvent, type SessionOrigin } from './session-events.js';

/** Runs a flush and publishes it; called where somebody listens. */
export function tracedFlush(origin: SessionOrigin, run: () => Promise<void>): Promise<void> {
  const event = new FlushEvent(origin);
  return flush.run(event, run, event);
}
