import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

import { Inject, Injectable } from '@nestjs/common';

import type { ContextRegistry } from '../context/context-registry.js';
import { drawPauseMs, publishRetry } from '../context/retry.js';
import type { EndCause } from '../errors.js';
import type { DbContextOptions, OperationError } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { makeReadOnly } from '../transport/read-only-methods.js';
import type { RouteLog } from '../transport/route-log.js';
import { GRAPHQL_OPTIONS, type DbContextGraphQLOptions } from './graphql-options.js';
import { incrementalError, type Answer, type FormatError, type OperationEnd } from './answer.js';
import { hasLeft, type Exchange } from './exchange.js';
import { GraphQLOperation } from './operation.js';
import { OperationContexts } from './operation-contexts.js';
import { markOperation } from './operation-mark.js';
import { HttpExchanges } from './http-exchanges.js';
import { settingsOf, type OperationSettings } from './operation-settings.js';
import { ResolverRoutes } from './resolver-routes.js';
import type { OperationShape } from './root-fields.js';
import { markSkippedFields, SkippedFields } from './skipped-fields.js';

/** Begins and ends operations, each of them marked on the context object that all its resolvers get. */
@Injectable()
export class GraphQLOperations {
  readonly #registry: ContextRegistry;
  readonly #options: DbContextOptions;
  readonly #graphql: DbContextGraphQLOptions;
  readonly #contexts: OperationContexts;
  readonly #routes: ResolverRoutes;
  readonly #log: RouteLog;
  readonly #exchanges: HttpExchanges;

  constructor(
    @Inject(GRAPHQL_OPTIONS) graphql: DbContextGraphQLOptions,
    contexts: OperationContexts,
    routes: ResolverRoutes,
    exchanges: HttpExchanges,
  ) {
    this.#registry = contexts.registry;
    this.#options = contexts.options;
    this.#graphql = graphql;
    this.#contexts = contexts;
    this.#routes = routes;
    this.#log = contexts.log;
    this.#exchanges = exchanges;
  }

  /** Whether an operation has one context, rather than each of its root fields. */
  get areWhole(): boolean {
    return this.#graphql.scope !== 'root-field';
  }

  /** The request that carries the operation of a context object. */
  exchangeOf(contextValue: object): Exchange {
    return this.#exchanges.of(contextValue);
  }

  /** Whether a method of the application resolves the root fields of an operation. */
  isResolvedByNest({ kind, rootFields }: OperationShape): boolean {
    return [...rootFields.values()].every((name) => this.#routes.of(kind, name) !== undefined);
  }

  /** Waits for what runs, as a shutdown does, while its answers can be sent, and until they are. */
  async drain(): Promise<void> {
    const { shutdownTimeoutMs = DEFAULTS.shutdownTimeoutMs } = this.#options;
    await this.#registry.shutdown.drain(shutdownTimeoutMs);
    // A server sends an answer in the promises that follow the end of its context.
    await nextTurn();
  }

  /** Runs what belongs to no operation. */
  runOutside<T>(callback: () => T): T {
    return this.#registry.runOutside(callback);
  }

  /**
   * How an operation is to run.
   *
   * @throws BadRequestException its root fields ask for different transactions
   */
  settingsOf(shape: OperationShape): OperationSettings {
    return settingsOf(shape, this.#routes, this.#options.commitOn ?? DEFAULTS.commitOn);
  }

  /**
   * Begins an operation, in a context unless all of its root fields are under `@SkipDbContext()`.
   *
   * @throws what {@link open} throws
   */
  begin(
    contextValue: object,
    shape: OperationShape,
    settings: OperationSettings,
    exchange: Exchange,
  ): GraphQLOperation | undefined {
    markSkippedFields(contextValue, new SkippedFields(this.#registry, settings.skipped));
    if (settings.isSkipped) {
      this.#contexts.drop(shape.name, exchange);
      return undefined;
    }
    return this.open(contextValue, shape, settings, exchange);
  }

  /**
   * Opens a context for an operation, or takes over the one that the middleware opened for its request.
   *
   * @throws ServiceUnavailableException the application is shutting down
   * @throws {@link InvalidTransactionStateError} a middleware has begun the transaction otherwise
   */
  open(
    contextValue: object,
    shape: OperationShape,
    settings: OperationSettings,
    exchange: Exchange,
  ): GraphQLOperation {
    const context = this.#contexts.open(shape.name, exchange);
    const operation = new GraphQLOperation(this.#registry, context, settings, this.#log);
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
    markOperation(contextValue, operation);
    this.#contexts.watchDisconnect(operation, exchange);
    return operation;
  }

  /**
   * Whether an operation that has been settled is to run again.
   *
   * @param attempt how often it has run
   */
  mayRunAgain(operation: GraphQLOperation, attempt: number, exchange: Exchange): boolean {
    const { retried } = operation.settings;
    if (retried === undefined || !operation.failedBy(attempt)) {
      return false;
    }
    if (operation.obstacle !== undefined) {
      this.#log.notRetried(retried, operation.obstacle);
      return false;
    }
    return !hasLeft(exchange);
  }

  /** Waits before the next attempt of an operation. */
  async pause({ settings }: GraphQLOperation, attempt: number): Promise<void> {
    const { retry, name = '' } = settings.retried ?? {};
    if (retry !== undefined) {
      const pauseMs = drawPauseMs(retry, attempt);
      publishRetry(name, attempt, pauseMs);
      await sleep(pauseMs);
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
    } else if (operation.unwritten !== undefined) {
      // Nest logs what a resolver throws, and has no part in what comes after it.
      const { error } = operation.unwritten;
      this.#registry.report(`${operation.context.origin} could not be written`, error);
    }
    return end;
  }

  /**
   * Rolls an operation back whose server would answer it in several payloads.
   *
   * @returns the only answer to it
   */
  async refuseIncremental(operation: GraphQLOperation, format: FormatError): Promise<Answer> {
    const { origin } = operation.context;
    const error = incrementalError(origin);
    operation.abandon();
    // The answer leaves after the rollback, which is its end.
    await operation.settle([]);
    this.#registry.report('an incremental answer was refused', error);
    return { data: null, errors: [format(error)] };
  }

  /** Rolls an operation back whose resolvers may still run, and whose answer nobody gets. */
  abandon(operation: GraphQLOperation, cause: EndCause): void {
    if (!operation.hasEnded && operation.context.hasWork) {
      this.#log.workDropped(operation.context.origin, 'client-left');
    }
    operation.abandon(cause);
  }

  /** Reports that an event was not sent, since the filter of its subscription failed; no server says so. */
  filterFailed({ context: { origin } }: GraphQLOperation, error: unknown): void {
    this.#registry.report(
      `the filter of ${origin} failed, and its event was not sent to one client`,
      error,
    );
  }

  #isReadOnly({ kind }: OperationShape, { request, response }: Exchange): boolean {
    const { readOnlyMethods = [] } = this.#options;
    const method = response === undefined ? '' : (request?.method ?? '');
    return (
      kind === 'query' &&
      (this.#graphql.readOnlyQueries === true || readOnlyMethods.includes(method))
    );
  }
}
