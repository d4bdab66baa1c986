import { ServiceUnavailableException, type CallHandler } from '@nestjs/common';
import { Observable, type Subscriber, type TeardownLogic } from 'rxjs';

import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { SessionClosedError, ShuttingDownError, type EndCause } from '../errors.js';
import type { CommitPolicy, RequestOutcome } from '../options/context-options.js';
import {
  clientHasLeft,
  headersWereSent,
  onDisconnect,
  outcomeOfFailure,
  outcomeOfSuccess,
  type HttpResponse,
} from './http-exchange.js';
import { makeReadOnly } from './read-only-methods.js';
import { settleRequest } from './request-settlement.js';
import type { RouteLog } from './route-log.js';
import type { RouteSettings } from './route-settings.js';

const CLIENT_LEFT: EndCause = { what: "the client went away (onDisconnect: 'rollback')" };

/** A request that the interceptor serves, with how it is to be served. */
export interface InterceptedRequest {
  readonly registry: ContextRegistry;
  readonly next: CallHandler;
  readonly response: HttpResponse | undefined;
  readonly route: RouteSettings;
  readonly commitOn: CommitPolicy;
  /** Whether the context is rolled back as soon as the client disconnects. */
  readonly rollsBackOnDisconnect: boolean;
  readonly log: RouteLog;
  /** Whether the HTTP method of the request makes its transactions read-only. */
  readonly isReadOnly: boolean;
}

/**
 * One run of a handler in a context of its own. The context is settled before the last value of the
 * handler is passed on, and an error is passed on only after the context has ended (S1, S4).
 */
export class RequestAttempt {
  readonly #request: InterceptedRequest;
  readonly #context: Context;
  #hasLastingEffect = false;

  /** @param context is settled by this attempt, once somebody has subscribed to it */
  constructor(request: InterceptedRequest, context: Context) {
    this.#request = request;
    this.#context = context;
  }

  /** Whether something of a failed attempt stays: a commit, or a value that was passed on. */
  get hasLastingEffect(): boolean {
    return this.#hasLastingEffect;
  }

  /** Runs the handler, with its pipes and inner interceptors. May be subscribed to once. */
  run(): Observable<unknown> {
    return new Observable((subscriber) => this.runFor(subscriber));
  }

  /** Does what `run()` does, for a subscriber that exists already. */
  runFor(subscriber: Subscriber<unknown>): TeardownLogic {
    const { registry, next, response, route, log, isReadOnly } = this.#request;
    const context = this.#context;
    try {
      if (isReadOnly) {
        makeReadOnly(context, registry, route);
      }
      for (const { connection, settings } of route.transactions) {
        context.configure(connection, settings);
      }
    } catch (error) {
      void registry.abandon(context).then(() => subscriber.error(error));
      return undefined;
    }
    if (this.#hasLostItsClient) {
      void registry.abandon(context).then(() => subscriber.complete());
      return undefined;
    }
    let heldBack: { readonly value: unknown } | undefined;
    let isFinishing = false;
    let hasExpired = false;
    const stopListening = this.#watchDisconnect();
    const pass = (value: unknown): void => {
      this.#hasLastingEffect = true;
      subscriber.next(value);
    };

    const conclude = (outcome: RequestOutcome, isCommitted: boolean): void => {
      this.#hasLastingEffect ||= isCommitted;
      if (outcome.failed) {
        subscriber.error(this.#errorForClient(outcome.error));
        return;
      }
      if (heldBack !== undefined) {
        pass(heldBack.value);
      }
      subscriber.complete();
    };
    const fail = (outcome: RequestOutcome, error: unknown): void => {
      if (subscriber.closed && !hasExpired && error !== outcome.error) {
        log.commitFailedAfterDisconnect(route, error);
      }
      subscriber.error(this.#errorForClient(error));
    };
    const finish = (outcome: RequestOutcome): void => {
      isFinishing = true;
      const settled = this.#settle(outcome);
      if (typeof settled === 'boolean') {
        stopListening();
        conclude(outcome, settled);
        return;
      }
      // The client may still leave while hooks run, and until COMMIT is sent (S4).
      settled.then(
        (isCommitted) => {
          stopListening();
          conclude(outcome, isCommitted);
        },
        (error: unknown) => {
          stopListening();
          fail(outcome, error);
        },
      );
    };

    // Subscribed inside the store: an Observable handler does its work on subscription.
    const subscription = registry.runIn(context, () =>
      next.handle().subscribe({
        next: (value: unknown) => {
          if (route.isLive) {
            pass(value);
            return;
          }
          // A value is passed on only when the next one comes, and the last one after the commit:
          // on every transport a client that receives it takes it for a success.
          if (heldBack !== undefined) {
            pass(heldBack.value);
          }
          heldBack = { value };
        },
        error: (error: unknown) => finish(outcomeOfFailure(response, error)),
        complete: () => finish(outcomeOfSuccess(route.redirect, response, heldBack?.value)),
      }),
    );

    // The function is put into a constant first: V8 allocates a function literal that is assigned to a
    // property in the old space, where it keeps this request alive until a major collection.
    const expire: typeof context.onExpire = (error) => {
      isFinishing = true;
      hasExpired = true;
      stopListening();
      subscription.unsubscribe();
      // The registry rolls the context back; the response need not wait for that.
      subscriber.error(new ServiceUnavailableException(error.message, { cause: error }));
    };
    context.onExpire = expire;

    return () => {
      subscription.unsubscribe();
      stopListening();
      if (!isFinishing) {
        void registry.abandon(context);
      }
    };
  }

  #settle(outcome: RequestOutcome): boolean | Promise<boolean> {
    const { registry, commitOn, response, route, log } = this.#request;
    return settleRequest(
      {
        registry,
        context: this.#context,
        commitOn,
        onCommit: () => {
          if (headersWereSent(response)) {
            log.responseSentBeforeCommit(route);
          }
        },
      },
      outcome,
    );
  }

  /**
   * Whether the client has disconnected already, and the context is rolled back because of it. A handler
   * that started now would work for nobody.
   */
  get #hasLostItsClient(): boolean {
    const { response, rollsBackOnDisconnect } = this.#request;
    return rollsBackOnDisconnect && response !== undefined && clientHasLeft(response);
  }

  /**
   * The error that the client gets: 503 in place of a {@link SessionClosedError} during a shutdown, since
   * it was the shutdown, not the handler, that closed the session.
   */
  #errorForClient(error: unknown): unknown {
    return this.#request.registry.isShuttingDown && error instanceof SessionClosedError
      ? new ServiceUnavailableException(new ShuttingDownError(this.#context.origin).message, {
          cause: error,
        })
      : error;
  }

  #watchDisconnect(): () => void {
    const { registry, response, rollsBackOnDisconnect } = this.#request;
    return rollsBackOnDisconnect && response !== undefined
      ? onDisconnect(response, () => void registry.abandon(this.#context, CLIENT_LEFT))
      : () => undefined;
  }
}
