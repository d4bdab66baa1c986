import {
  EmptyError,
  Observable,
  type Observer,
  type TeardownLogic,
  type Unsubscribable,
} from 'rxjs';

import type { Context } from '../context/context.js';
import {
  ContextTimeoutError,
  DbContextError,
  SessionClosedError,
  ShuttingDownError,
  type EndCause,
} from '../errors.js';
import type { RequestOutcome } from '../options/context-options.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { HandlerFlush } from './handler-flush.js';
import { warnOfCache } from './cache-warning.js';
import {
  CLIENT_GONE,
  CLIENT_LEFT,
  clientHasLeft,
  headersWereSent,
  onDisconnect,
  outcomeOfFailure,
} from './http-exchange.js';
import { HandlerAnswer } from './handler-answer.js';
import type { InterceptedRequest } from './intercepted-request.js';
import { outcomeOfValue } from './outcome-of-value.js';
import { handlePromisesIn } from './promises-in-value.js';
import { makeReadOnly } from './read-only-methods.js';
import { settleRequest } from './request-settlement.js';
import type { UnheardReason } from './route-log.js';
import { trySerialization } from './serialization-check.js';
import { unavailable } from './unavailable.js';
import { mayHaveWritten } from './written-work.js';

/** Where an answer goes, once the context of its request is settled: to a subscriber, or to a promise. */
export interface AttemptOutlet extends Observer<unknown> {
  /** Whether nobody waits for the answer any more. */
  readonly closed: boolean;
}

const DO_NOTHING = (): void => undefined;

const GIVEN_UP: EndCause = { code: 'REQUEST_GIVEN_UP', what: 'its request was given up' };

/**
 * One run of a handler in a context of its own. The context is settled before the last value of the
 * handler is passed on, and an error is passed on only after the context has ended (S1, S4).
 */
export class RequestAttempt implements Observer<unknown> {
  readonly #request: InterceptedRequest;
  readonly #context: Context;
  #hasLastingEffect = false;
  #answer: HandlerAnswer | undefined;
  #outlet!: AttemptOutlet;
  #handler: HandlerFlush | undefined;
  #subscription: Unsubscribable | undefined;
  #stopListening = DO_NOTHING;
  /** The last value, which is passed on after the commit. */
  #heldBack: { readonly value: unknown } | undefined;
  #isFinishing = false;
  #hasExpired = false;
  #holdsSince: number | undefined;

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

  /** Does what `run()` does, for an outlet that exists already. */
  runFor(outlet: AttemptOutlet): TeardownLogic {
    const { registry, response, route, log, isReadOnly, flushesHandler, interceptors } =
      this.#request;
    const context = this.#context;
    if (flushesHandler || interceptors.length > 0) {
      const handler = new HandlerFlush(this.#request, context);
      context.handlerEnd = handler;
      this.#handler = handler;
    }
    try {
      if (isReadOnly) {
        makeReadOnly(context, registry, route);
      }
      for (const { connection, settings } of route.transactions) {
        context.configure(connection, settings);
      }
    } catch (error) {
      void registry.abandon(context).then(() => outlet.error(error));
      return undefined;
    }
    if (this.#hasLostItsClient) {
      void registry.abandon(context).then(() => outlet.complete());
      return undefined;
    }
    this.#outlet = outlet;
    this.#stopListening = this.#watchDisconnect();
    if (route.answersByItself && response !== undefined) {
      this.#answer = HandlerAnswer.of({ context, route, log, response });
    }
    this.#subscription = this.#subscribe();
    // The function is put into a constant first: V8 allocates a function literal that is assigned to a
    // property in the old space, where it keeps this request alive until a major collection.
    const expire: typeof context.onExpire = (error) => this.#expire(error);
    context.onExpire = expire;
    return () => this.#tearDown();
  }

  /** The handler has brought a value. */
  next(value: unknown): void {
    const { route, log, hasReaders } = this.#request;
    if (route.isLive) {
      this.#pass(value);
      if (this.#context.sessions.some((session) => session.hasBegun)) {
        this.#holdsSince ??= performance.now();
        log.sendsWhileHolding(route, this.#holdsSince);
      }
      return;
    }
    // A value is passed on only when the next one comes, and the last one after the commit:
    // on every transport a client that receives it takes it for a success.
    if (this.#heldBack !== undefined) {
      this.#pass(this.#heldBack.value);
    }
    if (hasReaders) {
      handlePromisesIn(value);
    }
    this.#heldBack = { value };
  }

  /** The handler has failed. */
  error(error: unknown): void {
    this.#finish(outcomeOfFailure(this.#request.response, error));
  }

  /** The handler has returned. */
  complete(): void {
    this.#finish(this.#outcomeOf(this.#heldBack));
  }

  #pass(value: unknown): void {
    this.#hasLastingEffect = true;
    this.#outlet.next(value);
  }

  #finish(outcome: RequestOutcome): void {
    this.#isFinishing = true;
    this.#answer?.settle();
    const { lateChanges, route } = this.#request;
    const managers =
      lateChanges === undefined ? [] : this.#context.sessions.map(({ manager }) => manager);
    const settled = this.#settle(outcome);
    if (typeof settled === 'boolean') {
      this.#stopListening();
      this.#conclude(outcome, settled);
      return;
    }
    // The client may still leave while hooks run, and until COMMIT is sent (S4).
    settled.then(
      (isCommitted) => {
        this.#stopListening();
        if (isCommitted) {
          lateChanges?.lookAfter(managers, route);
        }
        this.#conclude(outcome, isCommitted);
      },
      (error: unknown) => {
        this.#stopListening();
        this.#fail(outcome, error);
      },
    );
  }

  #conclude(outcome: RequestOutcome, isCommitted: boolean): void {
    this.#hasLastingEffect ||= isCommitted;
    if (outcome.failed) {
      this.#answer?.giveWay(outcome.error);
      this.#outlet.error(this.#errorForClient(outcome.error));
      return;
    }
    this.#answer?.release();
    if (this.#heldBack !== undefined) {
      this.#pass(this.#heldBack.value);
    }
    this.#outlet.complete();
  }

  #fail(outcome: RequestOutcome, error: unknown): void {
    const { log, route } = this.#request;
    const unheard = this.#unheardBecause;
    this.#answer?.giveWay(error);
    if (this.#outlet.closed && !this.#hasExpired) {
      this.#answer?.cutOff();
    }
    if (unheard !== undefined && error !== outcome.error) {
      log.commitFailedUnheard(route, unheard, error);
    }
    this.#outlet.error(this.#errorForClient(error));
  }

  /** Why nobody is told of a commit that fails now. */
  get #unheardBecause(): UnheardReason | undefined {
    const { response, hasReaders } = this.#request;
    if (this.#hasExpired) {
      return undefined;
    }
    if (this.#outlet.closed) {
      return response === undefined || this.#clientIsGone ? 'client-left' : 'given-up';
    }
    // An interceptor around the context may wait for it no longer, and drop its error.
    return hasReaders && headersWereSent(response) && this.#answer?.isHeld !== true
      ? 'answered'
      : undefined;
  }

  #expire(error: ContextTimeoutError | ShuttingDownError): void {
    const { isRequest, log } = this.#request;
    this.#isFinishing = true;
    this.#hasExpired = true;
    this.#answer?.giveWay(error);
    this.#stopListening();
    this.#subscription?.unsubscribe();
    // The registry rolls the context back; the response need not wait for that.
    if (isRequest) {
      log.cutOff(error);
    }
    this.#outlet.error(isRequest ? unavailable(error) : error);
  }

  #tearDown(): void {
    this.#subscription?.unsubscribe();
    this.#stopListening();
    if (!this.#isFinishing) {
      const because = GIVEN_UP;
      if (this.#isGivenUpWithWork) {
        this.#request.log.workDropped(this.#request.route.name, 'given-up');
      }
      this.#answer?.giveWay(
        new SessionClosedError(this.#context.placeOf(DEFAULT_CONNECTION_NAME), undefined, {
          because,
        }),
      );
      void this.#request.registry.abandon(
        this.#context,
        this.#clientIsGone ? CLIENT_GONE : because,
      );
    } else {
      this.#answer?.leaveToOthers();
    }
  }

  /** Runs the handler inside the store: one that returns an Observable does its work on subscription. */
  #subscribe(): Unsubscribable {
    const { registry, handler } = this.#request;
    const subscribe = (): Unsubscribable =>
      registry.runIn(this.#context, () => handler.subscribe(this));
    return this.#answer === undefined ? subscribe() : this.#answer.run(subscribe);
  }

  #outcomeOf(last: { readonly value: unknown } | undefined): RequestOutcome {
    const { response, route, serializesFirst } = this.#request;
    const value = last?.value;
    const isEmpty = last === undefined && !route.isLive;
    if (isEmpty && response !== undefined && !headersWereSent(response)) {
      // Nest answers it so: it waits for a last value.
      return outcomeOfFailure(response, new EmptyError());
    }
    if (serializesFirst && route.isSerialized && response !== undefined) {
      try {
        trySerialization(response, value);
      } catch (error) {
        return outcomeOfFailure(response, error);
      }
    }
    return outcomeOfValue(this.#request, value);
  }

  #settle(outcome: RequestOutcome): boolean | Promise<boolean> {
    const { registry, commitOn, response, route, log } = this.#request;
    return settleRequest(
      {
        registry,
        context: this.#context,
        commitOn,
        onCommit: () => {
          this.#answer?.commits();
          if (headersWereSent(response) && this.#answer?.isHeld !== true) {
            log.responseSentBeforeCommit(route);
          }
          warnOfCache(this.#request, this.#context);
        },
        refusal: () => this.#handler?.refusal,
      },
      outcome,
    );
  }

  /** Whether what it has written is dropped, and a client waits that may be told of a success. */
  get #isGivenUpWithWork(): boolean {
    const { response } = this.#request;
    return (
      response !== undefined && !this.#clientIsGone && this.#context.sessions.some(mayHaveWritten)
    );
  }

  /**
   * Whether the client has disconnected already, and the context is rolled back because of it. A handler
   * that started now would work for nobody.
   */
  get #hasLostItsClient(): boolean {
    return this.#request.rollsBackOnDisconnect && this.#clientIsGone;
  }

  get #clientIsGone(): boolean {
    const { response } = this.#request;
    return response !== undefined && clientHasLeft(response);
  }

  /**
   * The error that the client gets: where the request was cut off, that says so in place of what the library
   * threw for it, since it was not the handler that ended the session or the transaction.
   */
  #errorForClient(error: unknown): unknown {
    const { isRequest } = this.#request;
    const cutOff = error instanceof DbContextError ? this.#cutOff(error) : undefined;
    if (cutOff === undefined) {
      return error;
    }
    return isRequest ? unavailable(cutOff, error) : cutOff;
  }

  #cutOff(error: DbContextError): ContextTimeoutError | ShuttingDownError | undefined {
    const ended = this.#context.endCause?.error;
    if (ended instanceof ShuttingDownError || ended instanceof ContextTimeoutError) {
      return ended;
    }
    // A session that was closed by the shutdown, rather than its context.
    return this.#request.registry.shutdown.hasBegun && error instanceof SessionClosedError
      ? Object.assign(new ShuttingDownError(this.#context.origin), { cause: error })
      : undefined;
  }

  #watchDisconnect(): () => void {
    const { registry, response, rollsBackOnDisconnect } = this.#request;
    return rollsBackOnDisconnect && response !== undefined
      ? onDisconnect(response, () => void registry.abandon(this.#context, CLIENT_LEFT))
      : DO_NOTHING;
  }
}
