import { UNMASKED, type StatementEvent } from '../telemetry/index.js';

/**
 * Whether a message is a transaction by itself, from BEGIN to COMMIT: a read that is sent ahead of the first
 * write (`begin: 'first-write'`). It has no other events.
 */
export function isWholeTransaction(event: StatementEvent): boolean {
  const { texts } = event[UNMASKED];
  return event.transaction === undefined && texts.length > 2 && texts.at(-1) === 'commit';
}
