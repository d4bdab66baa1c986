import { createClient } from 'graphql-ws';

/** A client that subscribes to the books that are added. */
export interface Listener {
  stop(): Promise<void>;
}

/**
 * Subscribes to the books that are added; both servers speak the protocol of graphql-ws.
 *
 * @param url of the running sample
 * @param onBook gets what the server sends for each of them
 * @returns when the client is connected
 */
export async function listen(url: string, onBook: (answer: object) => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const client = createClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      retryAttempts: 0,
      on: { connected: () => resolve({ stop: async () => client.dispose() }) },
    });
    client.subscribe(
      { query: 'subscription { bookAdded { title author { name } } }' },
      { next: onBook, error: reject, complete: () => undefined },
    );
  });
}
