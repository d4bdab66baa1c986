import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Observable, type Observer, type Subscribable, type Unsubscribable } from 'rxjs';

import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import { watchLimits } from '../context/watch-limits.js';
import { JoinedWork } from '../context/joined-work.js';
import type { DbContextOptions } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { AfterCommitInterceptors } from './after-commit-interceptors.js';
import { runAndSettleAround, runAround, type SurroundedRequest } from './around-context.js';
import { holdAcks } from './held-acks.js';
import { httpRequestOf, httpResponseOf, type HttpResponse } from './http-exchange.js';
import type { InterceptedRequest } from './intercepted-request.js';
import { SERVE_CALL, type HandlerCall } from './interceptor-chain.js';
import { LateChanges } from './late-changes.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { openForRequest } from './open-for-request.js';
import { RequestAttempt } from './request-attempt.js';
import { requestLsns, sendLsns } from './request-lsns.js';
import { runAttempts } from './request-retry.js';
import { RouteInterceptors } from './route-interceptors.js';
import { RouteLog } from './route-log.js';
import { RouteSettingsReader, type RouteSettings } from './route-settings.js';
import { ServedCall } from './served-call.js';
import { withShownErrors } from './shown-errors.js';
import { isRequest } from './unavailable.js';

/** A request with its context. */
interface BegunRequest {
  readonly context: Context;
  readonly request: InterceptedRequest;
  /** Whether a guard or a middleware has worked in the context already. */
  readonly isInUse: boolean;
}

/**
 * Opens a context around the handler, and settles it before the response leaves: Nest sends the
 * response when the Observable that `intercept()` returns completes, and it completes after the
 * COMMIT. The same holds for the answer of a microservice.
 *
 * Registered globally by default, for gateways and microservices as well; with `mount: 'none'` use
 * `@UseInterceptors(DbContextInterceptor)`, as for gateways on Nest 11, where global interceptors do not
 * reach them.
 *
 * @publicApi
 */
@Injectable()
export class DbContextInterceptor implements NestInterceptor {
  readonly #registry: ContextRegistry;
  readonly #options: DbContextOptions;
  readonly #routes: RouteSettingsReader;
  readonly #fromMiddleware: MiddlewareContexts;
  readonly #interceptors: RouteInterceptors;
  readonly #afterCommit: AfterCommitInterceptors;
  readonly #log: RouteLog;
  readonly #warnsOfCaches: boolean;
  readonly #lateChanges: LateChanges | undefined;

  /** @internal */
  constructor(
    registry: ContextRegistry,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    reflector: Reflector,
    fromMiddleware: MiddlewareContexts,
    interceptors: RouteInterceptors,
    afterCommit: AfterCommitInterceptors,
    log: RouteLog,
  ) {
    this.#registry = registry;
    this.#options = options;
    this.#warnsOfCaches = watchLimits(options.watch) !== undefined;
    this.#lateChanges = this.#warnsOfCaches ? new LateChanges(log) : undefined;
    this.#routes = new RouteSettingsReader(reflector);
    this.#fromMiddleware = fromMiddleware;
    this.#interceptors = interceptors;
    this.#afterCommit = afterCommit;
    this.#log = log;
  }

  intercept(executionContext: ExecutionContext, next: CallHandler): Observable<unknown> {
    const route = this.#routes.of(executionContext);
    const interceptors = this.#afterCommit.around(executionContext, route);
    const answer =
      interceptors.length === 0
        ? this.#serve(executionContext, next, route)
        : this.#serveInside(interceptors, executionContext, next, route);
    const isShown = route.isLive || executionContext.getType<string>() === 'graphql';
    return isShown ? withShownErrors(answer) : answer;
  }

  /**
   * Serves a request of HTTP without Nest's chain of interceptors, see `shortenChain()`.
   *
   * @internal
   */
  [SERVE_CALL](call: HandlerCall): Promise<unknown> | undefined {
    const { executionContext } = call;
    const route = this.#routes.of(executionContext);
    const isPlain = !route.isLive && !route.isSkipped && route.retry === undefined;
    if (!isPlain || this.#afterCommit.has(route)) {
      return undefined;
    }
    const response = httpResponseOf(executionContext);
    const joined = this.#joined(response);
    if (joined !== undefined) {
      return new JoinedWork(joined, route.name).serve(() =>
        this.#registry.runIn(joined, () => call.run()),
      );
    }
    const served = new ServedCall(call);
    const { context, request } = this.#begin(executionContext, response, route, served);
    served.endWith(new RequestAttempt(request, context).runFor(served));
    return served.answer;
  }

  /** Serves the request with interceptors around its context, which see no session. */
  #serveInside(
    interceptors: readonly NestInterceptor[],
    executionContext: ExecutionContext,
    next: CallHandler,
    route: RouteSettings,
  ): Observable<unknown> {
    const response = httpResponseOf(executionContext);
    const isUnclaimed = (): boolean => this.#fromMiddleware.has(response);
    const request: SurroundedRequest = {
      executionContext,
      interceptors,
      serve: () => this.#serve(executionContext, next, route),
      isUnclaimed,
      settle: (answer) => this.#serve(executionContext, { handle: () => answer }, route),
    };
    const isJoined = !isUnclaimed() && this.#registry.active() !== undefined;
    if (isJoined) {
      return runAround(request);
    }
    return new Observable((subscriber) =>
      this.#registry.runOutside(() => runAndSettleAround(request).subscribe(subscriber)),
    );
  }

  #serve(
    executionContext: ExecutionContext,
    next: CallHandler,
    route: RouteSettings,
  ): Observable<unknown> {
    const response = httpResponseOf(executionContext);
    if (route.isSkipped) {
      return this.#runOutside(route, response, next);
    }
    if (executionContext.getType() === 'ws') {
      holdAcks(executionContext, this.#registry);
    }
    const joined = this.#joined(response);
    if (joined !== undefined) {
      const handler = new Observable((subscriber) =>
        this.#registry.runIn(joined, () => next.handle().subscribe(subscriber)),
      );
      return new JoinedWork(joined, route.name).observe(handler, route);
    }
    // The context is claimed on subscription: an Observable that is never subscribed to would keep it
    // open for ever.
    return new Observable((subscriber) => {
      const handler = subscribableOf(next);
      const { context, request, isInUse } = this.#begin(executionContext, response, route, handler);
      return route.retry === undefined
        ? new RequestAttempt(request, context).runFor(subscriber)
        : runAttempts(request, route.retry, context, isInUse).subscribe(subscriber);
    });
  }

  /** The context of somebody else that the handler runs in, who settles it (S8). */
  #joined(response: HttpResponse | undefined): Context | undefined {
    const active = this.#registry.active();
    return active === undefined ||
      this.#fromMiddleware.has(response) ||
      !this.#fromMiddleware.isJoinable(active)
      ? undefined
      : active;
  }

  /** Opens the context of a request, or takes over that of the middleware. */
  #begin(
    executionContext: ExecutionContext,
    response: HttpResponse | undefined,
    route: RouteSettings,
    handler: Subscribable<unknown>,
  ): BegunRequest {
    const {
      commitOn = DEFAULTS.commitOn,
      onDisconnect = DEFAULTS.onDisconnect,
      flush = DEFAULTS.flush,
      serializeFirst = DEFAULTS.serializeFirst,
      readOnlyMethods,
    } = this.#options;
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
    const isField = executionContext.getType<string>() === 'graphql';
    const request: InterceptedRequest = {
      registry: this.#registry,
      handler,
      response,
      route,
      commitOn: route.commitOn ?? commitOn,
      rollsBackOnDisconnect: onDisconnect === 'rollback',
      log: this.#log,
      flushesHandler: (route.flush ?? flush) === 'handler',
      interceptors: this.#interceptors.inside(this, route),
      executionContext,
      warnsOfCaches: this.#warnsOfCaches,
      serializesFirst: serializeFirst,
      lateChanges: isField ? this.#lateChanges : undefined,
      hasReaders: isField || this.#afterCommit.has(route),
      isRequest: isRequest(executionContext),
      isReadOnly: readOnlyMethods?.includes(httpRequestOf(executionContext)?.method ?? '') === true,
    };
    const context = claimed ?? this.#open(executionContext, response, route.name);
    return { context, request, isInUse };
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
    return openForRequest(this.#registry, {
      origin,
      response,
      isRequest: isRequest(executionContext),
      writtenLsns,
    });
  }

  #runOutside(
    route: RouteSettings,
    response: HttpResponse | undefined,
    next: CallHandler,
  ): Observable<unknown> {
    return new Observable((subscriber) => {
      this.#fromMiddleware.drop(response, route.name);
      return this.#registry.runOutside(() => next.handle().subscribe(subscriber));
    });
  }
}

/** The handler as Nest's chain has it, whose async context is the one that it is subscribed to in. */
function subscribableOf(next: CallHandler): Subscribable<unknown> {
  return {
    subscribe: (observer: Partial<Observer<unknown>>): Unsubscribable =>
      next.handle().subscribe(observer),
  };
}
