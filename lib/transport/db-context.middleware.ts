import { Injectable, type NestMiddleware } from '@nestjs/common';

import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import { nameOfRequest, type HttpRequest, type HttpResponse } from './http-exchange.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { openForRequest } from './open-for-request.js';
import { requestLsns } from './request-lsns.js';

/** Opens the context of a request before its guards run (`mount: 'middleware'`). */
@Injectable()
export class DbContextMiddleware implements NestMiddleware {
  readonly #registry: ContextRegistry;
  readonly #contexts: MiddlewareContexts;

  constructor(registry: ContextRegistry, contexts: MiddlewareContexts) {
    this.#registry = registry;
    this.#contexts = contexts;
  }

  /**
   * @returns a promise that only ever fails, with what is to be answered in place of an answer that was
   *   held back: Nest hands what a middleware throws to the exception filters of the application. It is
   *   not waited for otherwise.
   */
  use(
    request: HttpRequest,
    response: HttpResponse,
    next: (error?: unknown) => void,
  ): Promise<never> | undefined {
    if (request.upgrade === true) {
      // It gets no response: its context would be open for as long as the WebSocket is.
      next();
      return undefined;
    }
    let context: Context;
    try {
      context = openForRequest(this.#registry, {
        origin: nameOfRequest(request),
        response,
        isRequest: true,
        writtenLsns: requestLsns(this.#registry.connections.readYourWrites, request, response),
      });
    } catch (error) {
      next(error);
      return undefined;
    }
    return new Promise((_resolve, reject) => {
      this.#contexts.watch(context, response, reject);
      this.#registry.runIn(context, () => next());
    });
  }
}
