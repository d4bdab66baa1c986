import type { PgResult } from '../postgresql/pg-client.js';
import { statement } from './channels.js';
import { StatementEvent, type EventOrigin, type Message } from './operation-events.js';

type Answer = PgResult | PgResult[];

/**
 * Sends a message to the server with the stores that are bound to its channel, and publishes it; called
 * where somebody listens.
 *
 * @param hasRun whether the server has run any of it where it has failed
 */
export function traced<R extends Answer>(
  origin: EventOrigin,
  message: Message,
  send: () => Promise<R>,
  hasRun: () => boolean = () => true,
): Promise<R> {
  const event = new StatementEvent(origin, message);
  return statement.run(event, send, {
    succeeded: (answer) => event.succeeded(rowsOf(answer)),
    failed: (error) => event.failed(error, hasRun()),
  });
}

/** A message that is handed to pg, and answered, by others. */
export interface SentStatement {
  /** Hands it to pg, with the stores that are bound to the channel. */
  handOver(send: () => void): void;
  succeeded(answer: Answer): void;
  failed(error: unknown): void;
}

/** Publishes a message that others send; called where somebody listens. */
export function announced(origin: EventOrigin, message: Message): SentStatement {
  const event = new StatementEvent(origin, message);
  return {
    handOver: (send) => {
      statement.start.runStores(event, send);
      statement.end.publish(event);
    },
    succeeded: (answer) => {
      event.succeeded(rowsOf(answer));
      statement.asyncEnd.publish(event);
    },
    failed: (error) => {
      event.failed(error, true);
      statement.error.publish(event);
      statement.asyncEnd.publish(event);
    },
  };
}

/** The number of rows that the last statement of a message has read or changed. */
function rowsOf(answer: Answer): number {
  const last = Array.isArray(answer) ? answer.at(-1) : answer;
  return last?.rowCount ?? 0;
}
