import { EventEmitter } from 'node:events';
import { IncomingMessage, ServerResponse, type RequestListener } from 'node:http';
import type { Socket } from 'node:net';

import type { Workload } from '../workloads.js';

/** What Node's response takes for its socket: it takes all bytes, and drops them. */
class Drain extends EventEmitter {
  readonly writable = true;
  readonly remoteAddress = '127.0.0.1';
  readonly writableLength = 0;
  readonly _writableState = { corked: 0 };

  write(_bytes: unknown, encoding: unknown, written?: () => void): boolean {
    const callback = typeof encoding === 'function' ? encoding : written;
    if (callback !== undefined) {
      process.nextTick(callback);
    }
    return true;
  }

  // What Node says to the socket of a response, and what has no meaning here.
  cork(): void {}
  uncork(): void {}
  setTimeout(): void {}
  destroy(): void {}
}

/**
 * A client that asks for one thing after another over a connection which it keeps. What a server runs
 * for a request runs: Node's `IncomingMessage` and `ServerResponse`, the router, Nest. Only Node's
 * HTTP parser, its sockets and the kernel do not.
 */
export class CannedClient {
  readonly #socket = new Drain() as unknown as Socket;

  constructor(
    private readonly listener: RequestListener,
    private readonly workload: Workload,
  ) {}

  /**
   * Asks so often, each time in a turn of the event loop of its own, as a request arrives.
   *
   * @throws Error when an answer is not a success
   */
  ask(times: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let left = times;
    const next = (): void => {
      this.#askOnce((status) => {
        left -= 1;
        if (status >= 300) {
          reject(new Error(`${this.workload.name}: status ${status}`));
        } else if (left === 0) {
          resolve();
        } else {
          setImmediate(next);
        }
      });
    };
    setImmediate(next);
    return promise;
  }

  #askOnce(answered: (status: number) => void): void {
    const { method, name, path } = this.workload;
    const request = new IncomingMessage(this.#socket);
    request.method = method;
    request.url = `/${path ?? name}`;
    request.httpVersion = '1.1';
    request.httpVersionMajor = 1;
    request.httpVersionMinor = 1;
    request.headers = { host: '127.0.0.1', connection: 'keep-alive' };
    request.complete = true;
    request.push(null);
    const response = new ServerResponse(request);
    response.assignSocket(this.#socket);
    response.once('finish', () => {
      response.detachSocket(this.#socket);
      // As Node's server does: the response is over, and with it what waits for its end.
      response.destroyed = true;
      response.emit('close');
      answered(response.statusCode);
    });
    this.listener(request, response);
  }
}
