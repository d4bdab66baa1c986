import { statementRequest } from './channels.js';
import { StatementRequest, type EventSource } from './operation-events.js';

/** Publishes that a statement is asked for, by the code that asks, where somebody listens (O1). */
export function requested(source: EventSource, text: string): StatementRequest | undefined {
  const origin = statementRequest.hasSubscribers ? source.telemetry : undefined;
  if (origin === undefined) {
    return undefined;
  }
  const request = new StatementRequest(origin, text);
  statementRequest.publish(request);
  return request;
}
