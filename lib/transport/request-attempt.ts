import { ServiceUnavailableException, type CallHandler } from '@nestjs/common';
import { Observable, type Subscriber, type TeardownLogic } from 'rxjs';

import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { SessionClosedError, ShuttingDownError } from '../errors.js';
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

/** A request, on its way through the interceptor. */
export interface RequestInHand {
  readonly host: ContextRegistry;
  readonly next: CallHandler;
  readonly response: HttpResponse | undefined;
  readonly route: RouteSettings;
  readonly commitOn: CommitPolicy;
  /** Whether the context is rolled back as the client goes away. */
  readonly endsWithClient: boolean;
  readonly log: RouteLog;
  /** Whether its method makes its transactions read-only. */
  readonly isReadOnly: boolean;
}

/**
 * One run of a handler in a context of its own, which is settled before the last value goes on.
 * It fails only after the context has ended.
 */
export class RequestAttempt {
  readonly #request: RequestInHand;
  readonly #container: Context;
  #isBeyondUndoing = false;

  /** @param container settled by this attempt, from the subscription on */
  constructor(request: RequestInHand, container: Context) {
    this.#request = request;
    this.#container = container;
  }

  /** Whether something of it stays, although it failed: a commit, or a value that went on. */
  get isBeyondUndoing(): boolean {
    return this.#isBeyondUndoing;
  }

  /** Runs the handler, pipes and inner interceptors included. For one subscriber. */
  run(): Observable<unknown> {
    return new Observable((subscriber) => this.runFor(subscriber));
  }

  /** As `run()`, for a subscriber that there is already. */
  runFor(subscriber: Subscriber<unknown>): TeardownLogic {
    const { host, next, response, route, log, isReadOnly } = this.#request;
    const container = this.#container;
    try {
      if (isReadOnly) {
        makeReadOnly(container, host, route);
      }
      for (const { connection, settings } of route.transactions) {
        container.configure(connection, settings);
      }
    } catch (error) {
      void host.abandon(container).then(() => subscriber.error(error));
      return undefined;
    }
    if (this.#isForNobody) {
      void host.abandon(container).then(() => subscriber.complete());
      return undefined;
    }
    let held: { readonly value: unknown } | undefined;
    let isFinishing = false;
    let hasExpired = false;
    const stopListening = this.#watchDisconnect();
    const pass = (value: unknown): void => {
      this.#isBeyondUndoing = true;
      subscriber.next(value);
    };

    const conclude = (outcome: RequestOutcome, isCommitted: boolean): void => {
      this.#isBeyondUndoing ||= isCommitted;
      if (outcome.failed) {
        subscriber.error(this.#told(outcome.error));
        return;
      }
      if (held !== undefined) {
        pass(held.value);
      }
      subscriber.complete();
    };
    const fail = (outcome: RequestOutcome, error: unknown): void => {
      if (subscriber.closed && !hasExpired && error !== outcome.error) {
        log.untold(route, error);
      }
      subscriber.error(this.#told(error));
    };
    const finish = (outcome: RequestOutcome): void => {
      isFinishing = true;
      stopListening();
      const settled = this.#settle(outcome);
      if (typeof settled === 'boolean') {
        conclude(outcome, settled);
      } else {
        settled.then(
          (isCommitted) => conclude(outcome, isCommitted),
          (error: unknown) => fail(outcome, error),
        );
      }
    };

    // Subscribed inside the store: an Observable handler does its work on subscription.
    const subscription = host.runIn(container, () =>
      next.handle().subscribe({
        next: (value: unknown) => {
          if (route.isLive) {
            pass(value);
            return;
          }
          // A value goes on only when the next one comes, and the last one after the commit:
          // whoever gets it, over whatever transport, takes it for a success.
          if (held !== undefined) {
            pass(held.value);
          }
          held = { value };
        },
        error: (error: unknown) => finish(outcomeOfFailure(response, error)),
        complete: () => finish(outcomeOfSuccess(route.redirect, response, held?.value)),
      }),
    );

    // First a constant: V8 puts a function that is assigned to a property as it is made into the old
    // space, where it keeps all that it sees of this request until a major collection.
    const expire: typeof container.onExpire = (error) => {
      isFinishing = true;
      hasExpired = true;
      stopListening();
      subscription.unsubscribe();
      // The host rolls it back; the response need not wait for that.
      subscriber.error(new ServiceUnavailableException(error.message, { cause: error }));
    };
    container.onExpire = expire;

    return () => {
      subscription.unsubscribe();
      stopListening();
      if (!isFinishing) {
        void host.abandon(container);
      }
    };
  }

  #settle(outcome: RequestOutcome): boolean | Promise<boolean> {
    const { host, commitOn, response, route, log } = this.#request;
    return settleRequest(
      {
        host,
        container: this.#container,
        commitOn,
        onCommit: () => {
          if (headersWereSent(response)) {
            log.sentTooEarly(route);
          }
        },
      },
      outcome,
    );
  }

  /** A handler that is started now would work for a client that has left, in a context that is over. */
  get #isForNobody(): boolean {
    const { response, endsWithClient } = this.#request;
    return endsWithClient && response !== undefined && clientHasLeft(response);
  }

  /** A session that a shutdown has closed is not the fault of the handler. */
  #told(error: unknown): unknown {
    return this.#request.host.isShuttingDown && error instanceof SessionClosedError
      ? new ServiceUnavailableException(new ShuttingDownError(this.#container.origin).message, {
          cause: error,
        })
      : error;
  }

  #watchDisconnect(): () => void {
    const { host, response, endsWithClient } = this.#request;
    return endsWithClient && response !== undefined
      ? onDisconnect(response, () => void host.abandon(this.#container))
      : () => undefined;
  }
}
