import { AsyncLocalStorage } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { pathOf, type Workload } from '../workloads.js';

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

type Fastify = ReturnType<ReturnType<NestFastifyApplication['getHttpAdapter']>['getInstance']>;

/** Asks once, and calls back with the status of the answer. */
export type Exchange = (workload: Workload, answered: (status: number) => void) => void;

/**
 * A connection to a server that keeps it. What a server runs for a request runs: Node's
 * `IncomingMessage` and `ServerResponse`, the router, Nest. Only Node's HTTP parser, its sockets and
 * the kernel do not.
 */
export function openDirectly(fastify: Fastify): Exchange {
  const socket = new Drain() as unknown as Socket;
  return (workload, answered) => {
    const request = new IncomingMessage(socket);
    request.method = workload.method;
    request.url = pathOf(workload);
    request.httpVersion = '1.1';
    request.httpVersionMajor = 1;
    request.httpVersionMinor = 1;
    request.headers = { host: '127.0.0.1', connection: 'keep-alive' };
    request.complete = true;
    request.push(null);
    const response = new ServerResponse(request);
    response.assignSocket(socket);
    response.once('finish', () => {
      response.detachSocket(socket);
      // As Node's server does: the response is over, and with it what waits for its end.
      response.destroyed = true;
      response.emit('close');
      answered(response.statusCode);
    });
    fastify.routing(request, response);
  };
}

/** The same with Fastify's `inject()`, whose imitation of a request takes more than the real one. */
export function openByInject(fastify: Fastify): Exchange {
  return (workload, answered) => {
    fastify.inject({ method: workload.method, url: pathOf(workload) }, (error, response) => {
      if (error !== undefined && error !== null) {
        throw error;
      }
      answered(response!.statusCode);
    });
  };
}

/**
 * Asks so often, one after another, each time in a turn of the event loop of its own, as a request
 * arrives, and outside the async context of the one before.
 *
 * @throws Error when an answer is not a success
 */
export function askInTurn(exchange: Exchange, workload: Workload, times: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const inContext = AsyncLocalStorage.snapshot();
  let left = times;
  const next = (): void => {
    exchange(workload, (status) => {
      left -= 1;
      if (status >= 300) {
        reject(new Error(`${workload.name}: status ${status}`));
      } else if (left === 0) {
        resolve();
      } else {
        inContext(() => setImmediate(next));
      }
    });
  };
  if (times > 0) {
    setImmediate(next);
  } else {
    resolve();
  }
  return promise;
}
