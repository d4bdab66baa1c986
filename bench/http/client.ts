import { once } from 'node:events';
import { connect } from 'node:net';

import { Client, type Dispatcher } from 'undici';

/** A request that takes longer has failed; even the last of a thousand on a busy machine is faster. */
const TIMEOUT_MS = 60_000;

/** What a server answered. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/**
 * One client of a server, with one connection, which is open before its first request.
 *
 * It is undici's, which the Node project keeps: a `Client` of it takes a socket that is connected already, so
 * that no connecting is measured. autocannon connects while its clock runs, and gave up where a thousand
 * clients did so on a busy machine.
 */
export class HttpClient {
  readonly #client: Client;

  private constructor(client: Client) {
    this.#client = client;
  }

  /** @throws Error when the server does not take the connection */
  static async open(baseUrl: string): Promise<HttpClient> {
    const { hostname, port } = new URL(baseUrl);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, 'connect');
    let isTaken = false;
    const client = new Client(baseUrl, {
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
      connect: (_options, callback) => {
        if (isTaken) {
          callback(new Error('the server has closed the connection'), null);
        } else {
          isTaken = true;
          // Undici drops a connection that it is handed before this function has returned.
          queueMicrotask(() => callback(null, socket));
        }
      },
    });
    return new HttpClient(client);
  }

  /** @throws Error when the connection is lost, or no answer comes in time */
  ask(method: 'GET' | 'POST', path: string): Promise<HttpAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    let status = 0;
    let body = '';
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart: () => undefined,
      onResponseStart: (_controller, statusCode) => {
        status = statusCode;
      },
      onResponseData: (_controller, chunk) => {
        body += chunk.toString();
      },
      onResponseEnd: () => resolve({ status, body }),
      onResponseError: (_controller, error) => reject(error),
    };
    this.#client.dispatch({ method, path }, handler);
    return promise;
  }

  close(): Promise<void> {
    return this.#client.destroy();
  }
}

/** How many clients connect at the same time: fewer than a server lets wait. */
const CONNECTING = 100;

/** Opens so many clients. */
export async function openClients(baseUrl: string, count: number): Promise<readonly HttpClient[]> {
  const clients: HttpClient[] = [];
  try {
    while (clients.length < count) {
      const next = Math.min(CONNECTING, count - clients.length);
      clients.push(
        ...(await Promise.all(Array.from({ length: next }, () => HttpClient.open(baseUrl)))),
      );
    }
    return clients;
  } catch (error) {
    await Promise.all(clients.map((client) => client.close()));
    throw new Error(`only ${clients.length} of ${count} clients could connect`, { cause: error });
  }
}
