import { Injectable, type NestMiddleware } from '@nestjs/common';

import type { DbContainer } from '../context/container.js';
import { ContextHost } from '../context/context-host.js';
import { nameOfRequest, type HttpRequest, type HttpResponse } from './http-exchange.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { openForRequest } from './open-for-request.js';
import { requestLsns } from './request-lsns.js';

/** Opens the context of a request before its guards run (`mount: 'middleware'`). */
@Injectable()
export class DbContextMiddleware implements NestMiddleware {
  readonly #host: ContextHost;
  readonly #contexts: MiddlewareContexts;

  constructor(host: ContextHost, contexts: MiddlewareContexts) {
    this.#host = host;
    this.#contexts = contexts;
  }

  use(request: HttpRequest, response: HttpResponse, next: (error?: unknown) => void): void {
    let container: DbContainer;
    try {
      container = openForRequest(
        this.#host,
        nameOfRequest(request),
        requestLsns(this.#host.readYourWritesConnections, request, response),
      );
    } catch (error) {
      next(error);
      return;
    }
    this.#contexts.watch(container, this.#host, response);
    this.#host.runIn(container, () => next());
  }
}
