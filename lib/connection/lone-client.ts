import type { HealthError } from './connection-health.js';
import { healthErrorOf } from './health-error.js';
import type { LoneClient, PgPool } from './pg-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/** How long a goodbye may take, in milliseconds; a server that has just answered takes one. */
const GOODBYE_MS = 100;

/** What was heard. */
export type Heard<T> =
  | { readonly answer: T; readonly error?: undefined }
  | { readonly answer?: undefined; readonly error: HealthError };

/**
 * Asks a server on a connection of its own: one as the pool would make it, and that is in none. It
 * takes no slot, so the pool may be exhausted, retired or unused.
 *
 * @param limitMs longest time for connecting and asking together, in milliseconds
 */
export async function askAlone<T>(
  pool: PgPool,
  limitMs: number,
  ask: (client: LoneClient) => Promise<T>,
): Promise<Heard<T> | typeof TIMED_OUT> {
  let client: LoneClient;
  try {
    // The very object, not a copy: a password is no enumerable property of it.
    client = new pool.Client(pool.options);
  } catch (error) {
    return { error: healthErrorOf(error) };
  }
  // Whatever it is told there, connecting or asking fails of it, too.
  client.on('error', () => undefined);
  try {
    const answer = await withinLimit(connectAndAsk(client, ask), Math.max(limitMs, 1));
    if (answer === TIMED_OUT) {
      return TIMED_OUT;
    }
    await withinLimit(client.end(), GOODBYE_MS);
    return { answer };
  } catch (error) {
    return { error: healthErrorOf(error, client.password) };
  } finally {
    client.connection.stream.destroy();
  }
}

async function connectAndAsk<T>(
  client: LoneClient,
  ask: (client: LoneClient) => Promise<T>,
): Promise<T> {
  await client.connect();
  return ask(client);
}
