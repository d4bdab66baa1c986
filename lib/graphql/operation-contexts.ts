import { Inject, Injectable, Optional } from '@nestjs/common';

import type { WrittenLsns } from '../connection/written-lsns.js';
import type { Context } from '../context/context.js';
import { assertRoot } from '../context/assert-root.js';
import { ContextRegistry } from '../context/context-registry.js';
import type { DbContextOptions, RequestOutcome } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { CLIENT_LEFT, onDisconnect } from '../transport/http-exchange.js';
import { MiddlewareContexts } from '../transport/middleware-contexts.js';
import { openForRequest } from '../transport/open-for-request.js';
import { expectedLsns, requestLsns } from '../transport/request-lsns.js';
import { RouteLog } from '../transport/route-log.js';
import { ClientSockets } from './client-sockets.js';
import { hasLeft, type Exchange } from './exchange.js';
import type { GraphQLOperation } from './operation.js';

/** Opens the contexts of operations, and ends those whose clients leave. */
@Injectable()
export class OperationContexts {
  readonly registry: ContextRegistry;
  /** The options of all contexts. */
  readonly options: DbContextOptions;
  /** Shared by all transports, so that each warning comes once. */
  readonly log: RouteLog;
  readonly #fromMiddleware: MiddlewareContexts;
  /** Operations of one client see its writes: those of a batch, and those over one WebSocket. */
  readonly #writtenLsns = new WeakMap<object, WrittenLsns>();
  readonly #sockets = new ClientSockets();

  // Where they are missing, Nest would name a class that nobody outside of this library knows.
  constructor(
    @Optional() @Inject(ContextRegistry) registry: ContextRegistry | undefined,
    @Optional() @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    @Optional() @Inject(MiddlewareContexts) fromMiddleware: MiddlewareContexts,
    @Optional() @Inject(RouteLog) log: RouteLog,
  ) {
    assertRoot(registry, 'DbContextGraphQLModule');
    this.registry = registry;
    this.options = options;
    this.#fromMiddleware = fromMiddleware;
    this.log = log;
  }

  /**
   * Opens a context, or takes the one over that the middleware opened for the request.
   *
   * @throws ServiceUnavailableException the application is shutting down
   * @throws {@link ShuttingDownError} of an event: the application has closed its consumers
   */
  open(origin: string, exchange: Exchange): Context {
    const { response, isEvent } = exchange;
    const claimed = this.#fromMiddleware.claim(response);
    if (claimed !== undefined) {
      claimed.origin = origin;
      return claimed;
    }
    const writtenLsns = this.#lsnsOf(exchange);
    // A middleware's context that another operation of the batch has claimed is no outer one of it.
    return this.registry.runOutside(() =>
      openForRequest(this.registry, {
        origin,
        response,
        isRequest: isEvent !== true,
        writtenLsns,
      }),
    );
  }

  /** Whether the middleware has opened a context for the request of an operation. */
  hasMiddleware({ response }: Exchange): boolean {
    return this.#fromMiddleware.hasOpened(response);
  }

  /**
   * Opens a context beside those of root fields, which do not join it, or takes that of the middleware for it.
   *
   * @throws ServiceUnavailableException the application is shutting down
   */
  openBeside(origin: string, exchange: Exchange): Context {
    const context = this.open(origin, exchange);
    this.#fromMiddleware.letNobodyJoin(context);
    return context;
  }

  /** Ends the context that the middleware opened for the request of an operation that has none. */
  drop(origin: string, { response }: Exchange): void {
    this.#fromMiddleware.drop(response, origin);
  }

  /** Lets the context that the middleware opened for a request end as that of a failure. */
  fail({ response }: Exchange, failure: RequestOutcome): void {
    this.#fromMiddleware.fail(response, failure);
  }

  #lsnsOf({ request, response, socket }: Exchange): WrittenLsns | undefined {
    const { readYourWrites } = this.registry.connections;
    const key = response?.raw ?? response ?? socket;
    if (readYourWrites.length === 0 || key === undefined) {
      return undefined;
    }
    const writtenLsns =
      this.#writtenLsns.get(key) ??
      (response === undefined
        ? expectedLsns(readYourWrites, request)
        : requestLsns(readYourWrites, request, response));
    if (writtenLsns !== undefined) {
      this.#writtenLsns.set(key, writtenLsns);
    }
    return writtenLsns;
  }

  /** Ends an operation as its client leaves, where the application wants that. */
  watchDisconnect(operation: GraphQLOperation, { response, socket }: Exchange): void {
    const { onDisconnect: reaction = DEFAULTS.onDisconnect } = this.options;
    if (reaction !== 'rollback' || (response ?? socket) === undefined) {
      return;
    }
    const leave = (): void => void this.registry.abandon(operation.context, CLIENT_LEFT);
    const stop =
      response === undefined
        ? this.#sockets.onLeave(socket!, leave)
        : onDisconnect(response, leave);
    if (hasLeft({ response, socket })) {
      stop();
    } else {
      operation.onSettled(stop);
    }
  }
}
