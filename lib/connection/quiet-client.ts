import type { LendableClient } from '../postgresql/lendable-client.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/** Whether the server has answered everything that was sent on a client. */
export function isQuiet(client: PgClient): boolean {
  return client.readyForQuery;
}

/**
 * Waits until the server has answered everything that was sent on a client, or its connection is over.
 *
 * @returns whether it has answered within the limit; a copy or a cursor that nobody ends has no answer
 */
export async function isQuietWithin(client: PgClient, limitMs: number): Promise<boolean> {
  if (!isQuiet(client)) {
    const lent = client as LendableClient;
    const quiet = new Promise<void>((resolve) => {
      lent.once('drain', resolve);
      lent.once('end', resolve);
    });
    if ((await withinLimit(quiet, limitMs)) === TIMED_OUT) {
      return false;
    }
  }
  return isQuiet(client);
}
