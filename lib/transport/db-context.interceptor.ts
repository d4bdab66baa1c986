import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Observable } from 'rxjs';

import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import type { DbContextOptions } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { httpRequestOf, httpResponseOf, type HttpResponse } from './http-exchange.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { openForRequest } from './open-for-request.js';
import { RequestAttempt, type InterceptedRequest } from './request-attempt.js';
import { requestLsns, sendLsns } from './request-lsns.js';
import { runAttempts } from './request-retry.js';
import { RouteLog } from './route-log.js';
import { RouteSettingsReader } from './route-settings.js';

/**
 * Opens a context around the handler, and settles it before the response leaves: Nest sends the
 * response when the Observable that `intercept()` returns completes, and it completes after the COMMIT
 * (S1). The same holds for the answer of a microservice.
 *
 * Registered globally by default; with `mount: 'none'` use `@UseInterceptors(DbContextInterceptor)`,
 * as for WebSocket gateways, which global interceptors do not reach.
 *
 * @publicApi
 */
@Injectable()
export class DbContextInterceptor implements NestInterceptor {
  readonly #registry: ContextRegistry;
  readonly #options: DbContextOptions;
  readonly #routes: RouteSettingsReader;
  readonly #fromMiddleware: MiddlewareContexts;
  readonly #log = new RouteLog();

  /** @internal */
  constructor(
    registry: ContextRegistry,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    reflector: Reflector,
    fromMiddleware: MiddlewareContexts,
  ) {
    this.#registry = registry;
    this.#options = options;
    this.#routes = new RouteSettingsReader(reflector);
    this.#fromMiddleware = fromMiddleware;
  }

  intercept(executionContext: ExecutionContext, next: CallHandler): Observable<unknown> {
    const route = this.#routes.of(executionContext);
    const response = httpResponseOf(executionContext);
    if (route.isSkipped) {
      return this.#runOutside(response, next);
    }
    const active = this.#registry.active();
    if (
      active !== undefined &&
      !this.#fromMiddleware.has(response) &&
      !this.#fromMiddleware.isUnclaimed(active)
    ) {
      return next.handle();
    }
    const {
      commitOn = DEFAULTS.commitOn,
      onDisconnect = DEFAULTS.onDisconnect,
      readOnlyMethods,
    } = this.#options;
    const method =
      readOnlyMethods === undefined ? undefined : httpRequestOf(executionContext)?.method;
    // The context is claimed on subscription: an Observable that is never subscribed to would keep it
    // open for ever.
    return new Observable((subscriber) => {
      const claimed = this.#fromMiddleware.claim(response);
      if (claimed !== undefined) {
        claimed.origin = route.name;
        if (claimed.writtenLsns !== undefined && response !== undefined) {
          // Fastify gives a middleware Node's response, and an interceptor its own reply; headers are
          // set on the reply from here on.
          sendLsns(claimed.writtenLsns, this.#registry.connections.readYourWrites, response);
        }
      }
      const isInUse = claimed?.isUntouched === false;
      const request: InterceptedRequest = {
        registry: this.#registry,
        next,
        response,
        route,
        commitOn: route.commitOn ?? commitOn,
        rollsBackOnDisconnect: onDisconnect === 'rollback',
        log: this.#log,
        isReadOnly: method !== undefined && readOnlyMethods?.includes(method) === true,
      };
      const context = claimed ?? this.#open(executionContext, response, route.name);
      return route.retry === undefined
        ? new RequestAttempt(request, context).runFor(subscriber)
        : runAttempts(request, route.retry, context, isInUse).subscribe(subscriber);
    });
  }

  #open(
    executionContext: ExecutionContext,
    response: HttpResponse | undefined,
    origin: string,
  ): Context {
    const { readYourWrites } = this.#registry.connections;
    const writtenLsns =
      readYourWrites.length === 0
        ? undefined
        : requestLsns(readYourWrites, httpRequestOf(executionContext), response);
    return openForRequest(this.#registry, origin, writtenLsns);
  }

  #runOutside(response: HttpResponse | undefined, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => {
      const opened = this.#fromMiddleware.claim(response);
      if (opened !== undefined) {
        void this.#registry.abandon(opened);
      }
      return this.#registry.runOutside(() => next.handle().subscribe(subscriber));
    });
  }
}
