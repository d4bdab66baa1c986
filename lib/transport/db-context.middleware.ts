import { Injectable, type NestMiddleware } from '@nestjs/common';

import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import { nameOfRequest, type HttpRequest, type HttpResponse } from './http-exchange.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { openForRequest } from './open-for-request.js';
import { requestLsns } from './request-lsns.js';

/** A request that no route has been found for yet. */
export interface EnteredRequest {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  /** Goes on to what comes next, or to the exception filters. */
  readonly next: (error?: unknown) => void;
  /** Lets the exception filters answer, in place of an answer that was held back. */
  readonly answer: (error: unknown) => void;
}

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
   * As a middleware of Nest, over a platform that this library does not know.
   *
   * @returns a promise that only ever fails, with what is to be answered in place of an answer that was
   *   held back: Nest hands what a middleware throws to the exception filters of the application. It is
   *   not waited for otherwise.
   */
  use(
    request: HttpRequest,
    response: HttpResponse,
    next: (error?: unknown) => void,
  ): Promise<never> {
    return new Promise((_resolve, reject) => {
      this.enter({ request, response, next, answer: reject });
    });
  }

  /** Opens the context, and goes on inside of it. */
  enter({ request, response, next, answer }: EnteredRequest): void {
    if (request.upgrade === true) {
      // It gets no response: its context would be open for as long as the WebSocket is.
      next();
      return;
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
      return;
    }
    this.#contexts.watch(context, response, answer);
    this.#registry.runIn(context, next);
  }
}
