import type { PgResult, StandaloneClient } from '../postgresql/pg-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/** Longest wait for a graceful end, in milliseconds; a server that has just answered needs about one. */
const END_LIMIT_MS = 100;

/**
 * Asks a server on a connection of its own, which belongs to no pool and takes no slot, so it can be
 * used while the pool is exhausted, retired or unused.
 *
 * @param client a client that is not connected yet; it is closed in the end, also after an error
 * @param limitMs longest time for connecting and asking together, in milliseconds
 * @throws the error of connecting or asking
 */
export async function askAlone<T>(
  client: StandaloneClient,
  limitMs: number,
  ask: (client: StandaloneClient) => Promise<T>,
): Promise<T | typeof TIMED_OUT> {
  // Connecting or asking fails with the same error, so the event needs no handling of its own.
  client.on('error', () => undefined);
  try {
    const answer = await withinLimit(connectAndAsk(client, ask), Math.max(limitMs, 1));
    if (answer !== TIMED_OUT) {
      await withinLimit(client.end(), END_LIMIT_MS);
    }
    return answer;
  } finally {
    client.connection.stream.destroy();
  }
}

/** The first row of the answer to one statement. */
export function rowOf(result: PgResult | PgResult[]): Readonly<Record<string, string | null>> {
  return (result as PgResult).rows[0] as Record<string, string | null>;
}

async function connectAndAsk<T>(
  client: StandaloneClient,
  ask: (client: StandaloneClient) => Promise<T>,
): Promise<T> {
  await client.connect();
  return ask(client);
}
