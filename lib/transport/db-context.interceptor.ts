import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Observable } from 'rxjs';

import type { DbContainer } from '../context/container.js';
import { ContextHost } from '../context/context-host.js';
import { DEFAULTS, type DbContextOptions } from '../db-context.options.js';
import { commitOnSuccess } from './commit-policy.js';
import { httpRequestOf, httpResponseOf, type HttpResponse } from './http-exchange.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { openForRequest } from './open-for-request.js';
import { DB_CONTEXT_OPTIONS } from './options-token.js';
import { RequestAttempt, type RequestInHand } from './request-attempt.js';
import { requestLsns, sendLsns } from './request-lsns.js';
import { runAttempts } from './request-retry.js';
import { RouteLog } from './route-log.js';
import { RouteSettingsReader } from './route-settings.js';

/**
 * Opens a context around the handler, and settles it before the response leaves: Nest sends the
 * response when the Observable that this returns completes, and it completes after the COMMIT.
 * The same holds for the answer of a microservice.
 *
 * Registered globally by default; with `mount: 'none'` use `@UseInterceptors(DbContextInterceptor)`,
 * as for WebSocket gateways, which global interceptors do not reach.
 *
 * @publicApi
 */
@Injectable()
export class DbContextInterceptor implements NestInterceptor {
  readonly #host: ContextHost;
  readonly #options: DbContextOptions;
  readonly #routes: RouteSettingsReader;
  readonly #fromMiddleware: MiddlewareContexts;
  readonly #log = new RouteLog();

  /** @internal */
  constructor(
    host: ContextHost,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    reflector: Reflector,
    fromMiddleware: MiddlewareContexts,
  ) {
    this.#host = host;
    this.#options = options;
    this.#routes = new RouteSettingsReader(reflector);
    this.#fromMiddleware = fromMiddleware;
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const route = this.#routes.of(context);
    const response = httpResponseOf(context);
    if (route.isSkipped) {
      return this.#runOutside(response, next);
    }
    if (!this.#fromMiddleware.has(response) && this.#host.active() !== undefined) {
      return next.handle();
    }
    const {
      commitOn = commitOnSuccess,
      onDisconnect = DEFAULTS.onDisconnect,
      readOnlyMethods,
    } = this.#options;
    const method = readOnlyMethods === undefined ? undefined : httpRequestOf(context)?.method;
    // Deferred: an Observable that nobody subscribes to would hold what it has claimed for ever.
    return new Observable((subscriber) => {
      const claimed = this.#fromMiddleware.claim(response);
      if (claimed !== undefined) {
        claimed.origin = route.name;
        if (claimed.writtenLsns !== undefined && response !== undefined) {
          // Fastify's reply, in place of Node's response that its middleware gets.
          sendLsns(claimed.writtenLsns, this.#host.readYourWritesConnections, response);
        }
      }
      const isInUse = claimed?.isUntouched === false;
      const request: RequestInHand = {
        host: this.#host,
        next,
        response,
        route,
        commitOn: route.commitOn ?? commitOn,
        endsWithClient: onDisconnect === 'rollback',
        log: this.#log,
        isReadOnly: method !== undefined && readOnlyMethods?.includes(method) === true,
      };
      const container = claimed ?? this.#open(context, response, route.name);
      return route.retry === undefined
        ? new RequestAttempt(request, container).runFor(subscriber)
        : runAttempts(request, route.retry, container, isInUse).subscribe(subscriber);
    });
  }

  #open(
    context: ExecutionContext,
    response: HttpResponse | undefined,
    origin: string,
  ): DbContainer {
    const { readYourWritesConnections } = this.#host;
    const writtenLsns =
      readYourWritesConnections.length === 0
        ? undefined
        : requestLsns(readYourWritesConnections, httpRequestOf(context), response);
    return openForRequest(this.#host, origin, writtenLsns);
  }

  #runOutside(response: HttpResponse | undefined, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => {
      const opened = this.#fromMiddleware.claim(response);
      if (opened !== undefined) {
        void this.#host.abandon(opened);
      }
      return this.#host.runOutside(() => next.handle().subscribe(subscriber));
    });
  }
}
