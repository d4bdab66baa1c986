import { cancelBackend } from '../postgresql/cancel-request.js';
import {
  clientsOf,
  queueOf,
  removeFromPool,
  type PgClient,
  type PgPool,
} from '../postgresql/pg-client.js';
import type { Claim } from './claim.js';
import { destroyClient, endAfter } from './destroy-client.js';
import { PoolDeadlockDetector } from './pool-deadlock-detector.js';

/** How long a pool may take to close after its clients were cut, in milliseconds. */
export const CLOSE_LIMIT_MS = 1_000;

/**
 * Takes all clients of a pool that are in use away from their holders, and ends the transactions that
 * are open on them. A commit of a session that is under way has a limit of its own.
 *
 * @param reasonFor what the holder of a claim gets to know
 * @returns a promise that resolves when the cancel requests have left
 */
export async function cutClients(pool: PgPool, reasonFor: (claim: Claim) => Error): Promise<void> {
  const known = PoolDeadlockDetector.of(pool).held;
  for (const [client, claim] of known) {
    if (claim.kill === undefined) {
      destroyClient(client);
    } else {
      claim.kill(reasonFor(claim));
    }
  }
  const others = clientsOf(pool).filter((each) => !known.has(each));
  await Promise.all(others.map((each) => breakOff(pool, each)));
}

/** Fails the callers that wait in the queue of a pool, which serves nobody any more. */
export function refuseWaiting(pool: PgPool, reason: Error): void {
  for (const { callback, timedOut } of queueOf(pool).splice(0)) {
    if (timedOut !== true) {
      callback(reason, undefined, () => undefined);
    }
  }
}

/** Refuses what asks a pool for a client from now on. */
export function refuseCallers(pool: PgPool, refusal: () => Error): void {
  const connect = (callback?: Parameters<PgPool['connect']>[0]): unknown =>
    callback === undefined
      ? Promise.reject(refusal())
      : callback(refusal(), undefined, () => undefined);
  pool.connect = connect as PgPool['connect'];
}

/**
 * Ends a client that code of others holds. Its statement fails; where it sends none, the holder learns of
 * it by the next one. The pool does not wait for the holder, who may give the client back, or never does.
 */
async function breakOff(pool: PgPool, client: PgClient): Promise<void> {
  const cancelled = cancelBackend(client);
  endAfter(client, cancelled, () => removeFromPool(pool, client));
  await cancelled;
}
