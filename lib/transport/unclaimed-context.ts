import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { innermostContext } from '../context/context-storage.js';
import type { ContextTimeoutError, ShuttingDownError } from '../errors.js';
import type { CommitPolicy, RequestOutcome } from '../options/context-options.js';
import { clientHasLeft, isOver, outcomeOfAnswer, type HttpResponse } from './http-exchange.js';
import { nodeResponseOf } from './node-response.js';
import { settleRequest } from './request-settlement.js';
import { ResponseHold, type HoldListener } from './response-hold.js';
import type { RouteLog } from './route-log.js';
import { unavailable } from './unavailable.js';

/** What all contexts of the middleware have in common. */
export interface UnclaimedEnvironment {
  readonly registry: ContextRegistry;
  readonly commitOn: CommitPolicy;
  readonly log: RouteLog;
}

/**
 * A context that the middleware has opened, as long as no interceptor has taken it over. Where none does (a
 * middleware, a guard or an exception filter answers), the answer is held back from its first byte on, and
 * its status decides how the context is settled (W1).
 */
export class UnclaimedContext implements HoldListener {
  readonly context: Context;
  readonly #environment: UnclaimedEnvironment;
  readonly #raw: HttpResponse;
  readonly #hold: ResponseHold | undefined;
  readonly #answer: (error: unknown) => void;
  #isClaimed = false;
  #isDropReported = false;
  #status: number | undefined;
  #failure: RequestOutcome | undefined;

  /**
   * @param answer lets the application answer an error in place of what was held back
   */
  constructor(
    context: Context,
    environment: UnclaimedEnvironment,
    raw: HttpResponse,
    answer: (error: unknown) => void,
  ) {
    this.context = context;
    this.#environment = environment;
    this.#raw = raw;
    this.#answer = answer;
    const node = nodeResponseOf(raw);
    this.#hold = node && new ResponseHold(node, this);
    const onClose = (): void => this.#closed();
    const onExpire: typeof context.onExpire = (error) => this.#expired(error);
    context.onExpire = onExpire;
    if (isOver(raw)) {
      onClose();
    } else {
      raw.once?.('close', onClose);
    }
  }

  /** Leaves the context, and the response, to the interceptor. */
  claim(): Context {
    this.#isClaimed = true;
    if (this.#status === undefined) {
      this.#hold?.release();
    }
    return this.context;
  }

  /** The answer will be one of a failure, whatever its status. */
  fail(failure: RequestOutcome): void {
    this.#failure = failure;
  }

  get hasWork(): boolean {
    return !this.context.isUntouched;
  }

  isSender(): boolean {
    return innermostContext() === this.context;
  }

  cameLate(): void {
    const { log } = this.#environment;
    log.answeredTooLate(this.context.origin);
  }

  /** Settles the context by the status of the answer that begins. */
  begins(status: number): boolean {
    const { context } = this;
    const { registry, commitOn } = this.#environment;
    this.#status = status;
    const outcome = { ...outcomeOfAnswer(status), ...this.#failure, status };
    const settled = settleRequest({ registry, context, commitOn }, outcome);
    if (typeof settled === 'boolean') {
      return false;
    }
    settled.then(
      () => this.#hold?.release(),
      (error: unknown) => this.#fail(status, error),
    );
    return true;
  }

  #fail(status: number, error: unknown): void {
    const { log } = this.#environment;
    const { origin } = this.context;
    this.#hold?.drop(error as Error);
    if (clientHasLeft(this.#raw)) {
      this.#reportDrop();
      return;
    }
    log.answerDropped(origin, status, error);
    this.#answer(error);
  }

  /** Says once that the work was undone: an answer may still be tried after that. */
  #reportDrop(): void {
    if (!this.#isDropReported) {
      this.#isDropReported = true;
      this.#environment.log.workDropped(this.context.origin, 'client-left');
    }
  }

  #closed(): void {
    const { context } = this;
    const { registry } = this.#environment;
    if (this.#isClaimed || context.isClosed) {
      return;
    }
    // An answer that has begun reports the end of its commit itself.
    if (this.#status === undefined && context.hasWork) {
      this.#reportDrop();
    }
    // The context stays claimable: the work of the guards is undone, so the handler must fail rather
    // than work in a new context without it.
    void registry.abandon(context, {
      code: clientHasLeft(this.#raw) ? 'CLIENT_GONE' : 'RESPONSE_CLOSED',
      what: 'its response was closed before the handler began',
    });
  }

  #expired(error: ContextTimeoutError | ShuttingDownError): void {
    // An answer whose commit was overtaken gets to know it from there.
    if (this.#status !== undefined) {
      return;
    }
    this.#environment.log.cutOff(error);
    this.#hold?.drop(error);
    this.#answer(unavailable(error));
  }
}
