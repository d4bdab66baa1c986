import { setTimeout as sleep } from 'node:timers/promises';

import { Inject, Injectable } from '@nestjs/common';

import type { WrittenLsns } from '../connection/written-lsns.js';
import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import { drawPauseMs } from '../context/retry.js';
import type { DbContextOptions, OperationError } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import {
  CLIENT_LEFT,
  clientHasLeft,
  onDisconnect,
  type HttpRequest,
  type HttpResponse,
} from '../transport/http-exchange.js';
import { MiddlewareContexts } from '../transport/middleware-contexts.js';
import { openForRequest } from '../transport/open-for-request.js';
import { makeReadOnly } from '../transport/read-only-methods.js';
import { requestLsns } from '../transport/request-lsns.js';
import { RouteLog } from '../transport/route-log.js';
import { GRAPHQL_OPTIONS, type DbContextGraphQLOptions } from './graphql-options.js';
import type { OperationEnd } from './answer.js';
import { GraphQLOperation } from './operation.js';
import { settingsOf, type OperationSettings } from './operation-settings.js';
import { ResolverRoutes } from './resolver-routes.js';
import type { OperationShape } from './root-fields.js';

/** The request that carries an operation; one over a WebSocket has no response. */
export interface Exchange {
  readonly request?: HttpRequest | undefined;
  readonly response?: HttpResponse | undefined;
}

/** The operations that run, found by the context object that their server hands to all resolvers. */
@Injectable()
export class GraphQLOperations {
  readonly #registry: ContextRegistry;
  readonly #options: DbContextOptions;
  readonly #graphql: DbContextGraphQLOptions;
  readonly #fromMiddleware: MiddlewareContexts;
  readonly #routes: ResolverRoutes;
  readonly #log: RouteLog;
  readonly #running = new WeakMap<object, GraphQLOperation>();
  /** The operations of one batch answer one client, with the newest LSN that any of them wrote. */
  readonly #writtenLsns = new WeakMap<HttpResponse, WrittenLsns>();

  constructor(
    registry: ContextRegistry,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    @Inject(GRAPHQL_OPTIONS) graphql: DbContextGraphQLOptions,
    fromMiddleware: MiddlewareContexts,
    routes: ResolverRoutes,
    log: RouteLog,
  ) {
    this.#registry = registry;
    this.#options = options;
    this.#graphql = graphql;
    this.#fromMiddleware = fromMiddleware;
    this.#routes = routes;
    this.#log = log;
  }

  /** Whether an operation has one context, rather than each of its root fields. */
  get areWhole(): boolean {
    return this.#graphql.scope !== 'root-field';
  }

  /** The operation that resolvers with this context object belong to. */
  of(contextValue: unknown): GraphQLOperation | undefined {
    return typeof contextValue === 'object' && contextValue !== null
      ? this.#running.get(contextValue)
      : undefined;
  }

  /**
   * How an operation is to run.
   *
   * @throws {@link InvalidTransactionStateError} its root fields ask for different transactions
   */
  settingsOf(shape: OperationShape): OperationSettings {
    return settingsOf(shape, this.#routes, this.#options.commitOn ?? DEFAULTS.commitOn);
  }

  /**
   * Begins an operation in a context of its own, or in the one that the middleware opened for its request.
   *
   * @throws ServiceUnavailableException the application is shutting down
   * @throws {@link InvalidTransactionStateError} a middleware has begun the transaction otherwise
   */
  begin(
    contextValue: object,
    shape: OperationShape,
    settings: OperationSettings,
    exchange: Exchange,
  ): GraphQLOperation {
    const context = this.#open(shape.name, exchange);
    const operation = new GraphQLOperation(this.#registry, context, settings);
    try {
      if (this.#isReadOnly(shape, exchange)) {
        makeReadOnly(context, this.#registry, settings);
      }
      for (const { connection, settings: each } of settings.transactions) {
        context.configure(connection, each);
      }
    } catch (error) {
      operation.abandon();
      throw error;
    }
    this.#running.set(contextValue, operation);
    this.#watchDisconnect(operation, exchange);
    return operation;
  }

  /**
   * Whether an operation that has been settled is to run again.
   *
   * @param attempt how often it has run
   */
  mayRunAgain(operation: GraphQLOperation, attempt: number, { response }: Exchange): boolean {
    const { retried } = operation.settings;
    if (retried === undefined || !operation.failedBy(attempt)) {
      return false;
    }
    if (operation.obstacle !== undefined) {
      this.#log.notRetried(retried, operation.obstacle);
      return false;
    }
    return response === undefined || !clientHasLeft(response);
  }

  /** Waits before the next attempt of an operation. */
  async pause({ settings }: GraphQLOperation, attempt: number): Promise<void> {
    const { retry } = settings.retried ?? {};
    if (retry !== undefined) {
      await sleep(drawPauseMs(retry, attempt));
    }
  }

  /**
   * Settles an operation by its errors. A settlement that failed is a fault of the server, so that it is
   * in the log as well as in the answer.
   *
   * @returns `undefined` where the operation has been settled before, and its answer says so already
   */
  async conclude(
    operation: GraphQLOperation,
    errors: readonly OperationError[],
  ): Promise<OperationEnd | undefined> {
    if (operation.hasEnded) {
      return undefined;
    }
    const end = await operation.settle(errors);
    if (end.kind === 'failed') {
      this.#registry.report(`${operation.context.origin} could not be committed`, end.error);
    }
    return end;
  }

  #open(origin: string, { request, response }: Exchange): Context {
    const claimed = this.#fromMiddleware.claim(response);
    if (claimed !== undefined) {
      claimed.origin = origin;
      return claimed;
    }
    const { readYourWrites } = this.#registry.connections;
    const key = response?.raw ?? response;
    const writtenLsns =
      readYourWrites.length === 0 || key === undefined
        ? undefined
        : (this.#writtenLsns.get(key) ?? requestLsns(readYourWrites, request, response));
    if (writtenLsns !== undefined && key !== undefined) {
      this.#writtenLsns.set(key, writtenLsns);
    }
    // A middleware's context that another operation of the batch has claimed is no outer one of it.
    return this.#registry.runOutside(() =>
      openForRequest(this.#registry, { origin, response, isRequest: true, writtenLsns }),
    );
  }

  #isReadOnly({ kind }: OperationShape, { request }: Exchange): boolean {
    const { readOnlyMethods = [] } = this.#options;
    return (
      kind === 'query' &&
      (this.#graphql.readOnlyQueries === true || readOnlyMethods.includes(request?.method ?? ''))
    );
  }

  #watchDisconnect(operation: GraphQLOperation, { response }: Exchange): void {
    const { onDisconnect: reaction = DEFAULTS.onDisconnect } = this.#options;
    if (response === undefined || reaction !== 'rollback') {
      return;
    }
    const stop = onDisconnect(
      response,
      () => void this.#registry.abandon(operation.context, CLIENT_LEFT),
    );
    if (clientHasLeft(response)) {
      stop();
    } else {
      operation.onSettled(stop);
    }
  }
}
