import { createClient, type FormattedExecutionResult } from 'graphql-ws';
import { WebSocket } from 'ws';

import type { Deferred } from './deferred.js';

/** What a server sends for an event, or answers to an operation, over a WebSocket. */
type WebSocketAnswer = FormattedExecutionResult<Record<string, never>>;

/** One subscription of a client. */
export interface Listening {
  /** The next answer; fails where the server refuses the operation as a whole. */
  readonly next: () => Promise<WebSocketAnswer>;
  /** How many answers have come that nobody has taken. */
  readonly waiting: () => number;
  readonly stop: () => void;
}

/** A client of GraphQL over one WebSocket. */
export interface GraphQLClient {
  readonly listen: (query: string, variables?: Record<string, unknown>) => Listening;
  readonly ask: (query: string, variables?: Record<string, unknown>) => Promise<WebSocketAnswer>;
  /** Cuts the connection, as a client does that goes away. */
  readonly leave: () => void;
}

/**
 * Connects to `/graphql` of an application; both servers speak the protocol of graphql-ws.
 *
 * @param url of the application
 */
export function connect(url: string): GraphQLClient {
  let socket: WebSocket | undefined;
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    retryAttempts: 0,
    // One connection for all operations, also while there is none.
    lazy: false,
    onNonLazyError: () => undefined,
    webSocketImpl: class extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        // oxlint-disable-next-line typescript/no-this-alias -- the client makes it by itself
        socket = this;
      }
    },
  });
  const listen: GraphQLClient['listen'] = (query, variables) => {
    const iterator = client.iterate<Record<string, never>, Record<string, unknown>>({
      query,
      ...(variables !== undefined && { variables }),
    });
    const answers: WebSocketAnswer[] = [];
    const takers: Pick<Deferred<WebSocketAnswer>, 'resolve' | 'reject'>[] = [];
    let failure: { readonly error: unknown } | undefined;
    const pump = async (): Promise<void> => {
      try {
        for await (const answer of iterator) {
          const taker = takers.shift();
          if (taker === undefined) {
            answers.push(answer);
          } else {
            taker.resolve(answer);
          }
        }
        throw new Error('the subscription has ended');
      } catch (error) {
        failure = { error };
        takers.splice(0).forEach(({ reject }) => reject(error));
      }
    };
    void pump();
    return {
      next: () =>
        new Promise((resolve, reject) => {
          const answer = answers.shift();
          if (answer !== undefined) {
            resolve(answer);
          } else if (failure === undefined) {
            takers.push({ resolve, reject });
          } else {
            reject(failure.error);
          }
        }),
      waiting: () => answers.length,
      stop: () => void iterator.return?.(),
    };
  };
  return {
    listen,
    ask: async (query, variables) => listen(query, variables).next(),
    leave: () => {
      socket?.terminate();
      void client.dispose();
    },
  };
}
