import { AsyncLocalStorage } from 'node:async_hooks';

import type { PgClient } from '../postgresql/pg-client.js';

/** One request of the kit itself for a client of the pool, which is not routed until it is answered. */
interface OwnRequest {
  isAnswered: boolean;
}

const ownRequests = new AsyncLocalStorage<OwnRequest>();

/** Whether the code that runs now asks by {@link ask}. */
export function isOwnRequest(): boolean {
  return ownRequests.getStore()?.isAnswered === false;
}

/** Asks for a client of the pool itself. */
export async function ask(forClient: () => Promise<PgClient>): Promise<PgClient> {
  const request = { isAnswered: false };
  try {
    return await ownRequests.run(request, forClient);
  } finally {
    // The sockets of a new client keep the async context that they were made in.
    request.isAnswered = true;
  }
}
