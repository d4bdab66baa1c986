import {
  Inject,
  Injectable,
  Logger,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Observable } from 'rxjs';

import type { DbContainer } from '../context/container.js';
import { ContextHost } from '../context/context-host.js';
import { DEFAULTS, type CommitPolicy, type DbContextOptions } from '../db-context.options.js';
import {
  COMMIT_ON_METADATA,
  SKIP_METADATA,
  TRANSACTION_METADATA,
  type RouteTransaction,
} from '../decorators/route.decorators.js';
import { commitOnSuccess } from './commit-policy.js';
import {
  headersWereSent,
  httpResponseOf,
  isSse,
  onDisconnect,
  outcomeOfFailure,
  outcomeOfSuccess,
  type HttpResponse,
} from './http-exchange.js';
import { MiddlewareContexts } from './middleware-contexts.js';
import { DB_CONTEXT_OPTIONS } from './options-token.js';
import { openForRequest } from './open-for-request.js';
import { settleRequest } from './request-settlement.js';

/**
 * Opens a context around the handler, and settles it before the response leaves: Nest sends the
 * response when the Observable that this returns completes, and it completes after the COMMIT.
 *
 * Registered globally by default; with `mount: 'none'` use `@UseInterceptors(DbContextInterceptor)`.
 *
 * @publicApi
 */
@Injectable()
export class DbContextInterceptor implements NestInterceptor {
  readonly #host: ContextHost;
  readonly #options: DbContextOptions;
  readonly #reflector: Reflector;
  readonly #fromMiddleware: MiddlewareContexts;
  readonly #logger = new Logger('DbContext');
  readonly #warned = new WeakSet<object>();

  /** @internal */
  constructor(
    host: ContextHost,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    reflector: Reflector,
    fromMiddleware: MiddlewareContexts,
  ) {
    this.#host = host;
    this.#options = options;
    this.#reflector = reflector;
    this.#fromMiddleware = fromMiddleware;
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const targets = [context.getHandler(), context.getClass()];
    const response = httpResponseOf(context);
    if (this.#reflector.getAllAndOverride<boolean | undefined>(SKIP_METADATA, targets) === true) {
      return this.#runOutside(response, next);
    }
    if (!this.#fromMiddleware.has(response) && this.#host.active() !== undefined) {
      return next.handle();
    }
    const commitOn =
      this.#reflector.getAllAndOverride<CommitPolicy | undefined>(COMMIT_ON_METADATA, targets) ??
      this.#options.commitOn ??
      commitOnSuccess;
    const transactions = targets
      .toReversed()
      .flatMap(
        (target) => this.#reflector.get<RouteTransaction[]>(TRANSACTION_METADATA, target) ?? [],
      );
    return new Observable((subscriber) => {
      // Only now: an Observable that nobody subscribes to would hold what it has claimed for ever.
      const container = this.#fromMiddleware.claim(response) ?? openForRequest(this.#host);
      try {
        for (const { connection, settings } of transactions) {
          container.configure(connection, settings);
        }
      } catch (error) {
        void this.#host.abandon(container).then(() => subscriber.error(error));
        return undefined;
      }
      // A value goes on only when the next one comes, and the last one after the commit. Events
      // of a stream are not held back: each is for the client at once.
      const holdsBack = response !== undefined && !isSse(context);
      let held: { readonly value: unknown } | undefined;
      let isFinishing = false;
      const stopListening = this.#watchDisconnect(response, container);

      const finish = async (outcome: ReturnType<typeof outcomeOfFailure>): Promise<void> => {
        isFinishing = true;
        stopListening();
        try {
          const settlement = {
            host: this.#host,
            container,
            commitOn,
            onCommit: () => this.#warnIfTooLate(context, response),
          };
          await settleRequest(settlement, outcome);
        } catch (error) {
          if (subscriber.closed && error !== outcome.error) {
            this.#reportUntold(context, error);
          }
          subscriber.error(error);
          return;
        }
        if (held !== undefined) {
          subscriber.next(held.value);
        }
        subscriber.complete();
      };

      // Subscribed inside the store: an Observable handler does its work on subscription.
      const subscription = this.#host.runIn(container, () =>
        next.handle().subscribe({
          next: (value: unknown) => {
            if (!holdsBack) {
              subscriber.next(value);
              return;
            }
            if (held !== undefined) {
              subscriber.next(held.value);
            }
            held = { value };
          },
          error: (error: unknown) => void finish(outcomeOfFailure(response, error)),
          complete: () => void finish(outcomeOfSuccess(context, response, held?.value)),
        }),
      );

      return () => {
        subscription.unsubscribe();
        stopListening();
        if (!isFinishing) {
          void this.#host.abandon(container);
        }
      };
    });
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

  /** A commit failed, and the client to whom that would be told has left. */
  #reportUntold(context: ExecutionContext, error: unknown): void {
    this.#logger.error(
      `${nameOf(context)} could not be committed, and its client has left: ${String(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  }

  #watchDisconnect(response: HttpResponse | undefined, container: DbContainer): () => void {
    const policy = this.#options.onDisconnect ?? DEFAULTS.onDisconnect;
    return policy === 'rollback' && response !== undefined
      ? onDisconnect(response, () => void this.#host.abandon(container))
      : () => undefined;
  }

  #warnIfTooLate(context: ExecutionContext, response: HttpResponse | undefined): void {
    const handler = context.getHandler();
    if (headersWereSent(response) && !this.#warned.has(handler)) {
      this.#warned.add(handler);
      this.#logger.warn(
        `${nameOf(context)} sends its response before the transaction is ` +
          'committed, so a client may see a success that then fails. Return the value instead of ' +
          'using @Res(), commit with dbContext.commit() before sending, or mark the route with ' +
          '@SkipDbContext().',
      );
    }
  }
}

function nameOf(context: ExecutionContext): string {
  return `${context.getClass().name}.${context.getHandler().name}`;
}
