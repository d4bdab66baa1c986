import { AsyncLocalStorage } from 'node:async_hooks';

import type { Context } from '../context/context.js';
import { removeHeadersOfBody } from './headers-of-body.js';
import type { HttpResponse } from './http-exchange.js';
import { nodeResponseOf, type NodeResponse } from './node-response.js';
import { ReplyAwait } from './reply-await.js';
import { ResponseHold, type HoldListener } from './response-hold.js';
import type { RouteLog } from './route-log.js';
import type { RouteSettings } from './route-settings.js';

/** The answer whose handler the current code belongs to. */
const answerOfHandler = new AsyncLocalStorage<HandlerAnswer>();

/** What an answer belongs to. */
export interface AnsweredRequest {
  readonly context: Context;
  readonly route: RouteSettings;
  readonly log: RouteLog;
  readonly response: HttpResponse;
}

/**
 * `handling`: the handler runs; `settling`: it has returned, and the end of its context is not known yet;
 * `committing`: that end is to be a commit.
 */
type Phase = 'handling' | 'settling' | 'committing';

const LOWEST_FAILURE = 400;

/**
 * The answer of a handler that gives it by itself (`@Res()`). It is held back until the handler has returned
 * and its context is settled (S1), also where it begins only while that is settled: from a timer, a callback
 * or a file. Not held are, while the handler runs, an answer that is streamed, and one whose end the handler
 * listens for: it would wait for ever.
 */
export class HandlerAnswer implements HoldListener {
  readonly #request: AnsweredRequest;
  readonly #raw: NodeResponse;
  readonly #hold: ResponseHold;
  readonly #awaited: ReplyAwait | undefined;
  /** How many listened for the end of the response before the handler ran. */
  readonly #listeners: number;
  #phase: Phase = 'handling';

  /** @returns `undefined` where there is no response of Node to be held back */
  static of(request: AnsweredRequest): HandlerAnswer | undefined {
    const raw = nodeResponseOf(request.response);
    return raw && new HandlerAnswer(request, raw);
  }

  private constructor(request: AnsweredRequest, raw: NodeResponse) {
    this.#request = request;
    this.#raw = raw;
    this.#listeners = raw.listenerCount('finish');
    this.#hold = new ResponseHold(raw, this);
    this.#awaited = ReplyAwait.of(request.response, raw);
  }

  /** Whether the handler has answered, and nothing of it has left. */
  get isHeld(): boolean {
    return this.#hold.isHolding;
  }

  get hasWork(): boolean {
    return this.#phase !== 'handling' || this.#request.context.hasWork;
  }

  /** Runs the handler. */
  run<T>(handler: () => T): T {
    return answerOfHandler.run(this, handler);
  }

  isSender(): boolean {
    return answerOfHandler.getStore() === this;
  }

  begins(status: number): boolean {
    return this.#phase === 'handling' ? this.#beginsInHandler() : this.#beginsWhileSettling(status);
  }

  cameLate(): void {
    const { log, route } = this.#request;
    log.answeredTooLate(route.name);
  }

  /** The handler has returned: nothing of it waits for its answer any more. */
  settle(): void {
    this.#phase = 'settling';
    this.#stopListening();
  }

  /** The work is to be committed, whatever status comes after that. */
  commits(): void {
    this.#phase = 'committing';
  }

  /** Lets the answer go, once the context is settled. */
  release(): void {
    this.#stopListening();
    this.#hold.release();
  }

  /** Makes room for the answer of an error, unless the first one was sent already. */
  giveWay(error: unknown): void {
    const { isHeld } = this;
    this.#stopListening();
    this.#hold.drop(error as Error);
    if (isHeld) {
      // Fastify's reply keeps headers of its own, which it hands over with the first byte.
      removeHeadersOfBody(this.#request.response);
    }
  }

  /** Nobody waits for the handler any more; another answer than its own is not held. */
  leaveToOthers(): void {
    if (!this.isHeld) {
      this.release();
    }
  }

  /** Ends the exchange where the answer was dropped, and nobody is left to give another. */
  cutOff(): void {
    if (!this.#raw.headersSent) {
      this.#raw.destroy();
    }
  }

  #beginsInHandler(): boolean {
    const listeners = this.#listeners + (this.#awaited?.listeners ?? 0);
    if (!this.hasWork || this.#raw.listenerCount('finish') > listeners) {
      return false;
    }
    // Express and Fastify send a whole answer in one go.
    queueMicrotask(() => {
      if (this.isHeld && this.#phase === 'handling') {
        if (this.#hold.isEnded && !this.#hold.isAwaited) {
          this.#awaited?.resolve();
        } else {
          this.release();
        }
      }
    });
    this.#raw.addListener('newListener', this.#listens);
    return true;
  }

  #beginsWhileSettling(status: number): boolean {
    const { context, log, route } = this.#request;
    if (status >= LOWEST_FAILURE && this.#phase === 'committing') {
      log.refusedTooLate(route, status);
    }
    // Hooks of `onCommit()` may answer: they run when nothing can fail any more, and may wait for the end.
    return !context.isCommitted;
  }

  #stopListening(): void {
    this.#raw.removeListener('newListener', this.#listens);
  }

  readonly #listens = (event: string | symbol): void => {
    if (event === 'finish' || event === 'close') {
      this.release();
    }
  };
}
