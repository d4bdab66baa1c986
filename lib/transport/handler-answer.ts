import type { Context } from '../context/context.js';
import { nodeResponseOf, type NodeResponse } from './node-response.js';
import type { HttpResponse } from './http-exchange.js';
import { ResponseHold, type BeginListener } from './response-hold.js';

/**
 * The answer of a handler that gives it by itself (`@Res()`). One that is complete at once, as after
 * `res.send()`, is held back until the handler has returned and its context is settled (S1). Not held are
 * one that is streamed, and one whose end the handler listens for: it would wait for ever.
 */
export class HandlerAnswer implements BeginListener {
  readonly #context: Context;
  readonly #raw: NodeResponse;
  readonly #hold: ResponseHold;
  /** How many listened for the end of the response before the handler ran. */
  readonly #listeners: number;

  /** @returns `undefined` where there is no response of Node to be held back */
  static of(context: Context, response: HttpResponse): HandlerAnswer | undefined {
    const raw = nodeResponseOf(response);
    return raw && new HandlerAnswer(context, raw);
  }

  private constructor(context: Context, raw: NodeResponse) {
    this.#context = context;
    this.#raw = raw;
    this.#listeners = raw.listenerCount('finish');
    this.#hold = new ResponseHold(raw, this);
  }

  /** Whether the handler has answered, and nothing of it has left. */
  get isHeld(): boolean {
    return this.#hold.isHolding;
  }

  begins(): boolean {
    if (!this.#context.hasWork || this.#raw.listenerCount('finish') > this.#listeners) {
      return false;
    }
    // Express and Fastify send a whole answer in one go.
    queueMicrotask(() => {
      if (this.isHeld && (!this.#hold.isEnded || this.#hold.isAwaited)) {
        this.release();
      }
    });
    this.#raw.addListener('newListener', this.#listens);
    return true;
  }

  /** Lets the answer go, once the context is settled. */
  release(): void {
    this.#raw.removeListener('newListener', this.#listens);
    this.#hold.release();
  }

  /** Makes room for the answer of an error, unless the first one was sent already. */
  giveWay(error: unknown): void {
    if (this.isHeld) {
      this.#raw.removeListener('newListener', this.#listens);
      this.#hold.drop(error as Error);
    } else {
      this.release();
    }
  }

  readonly #listens = (event: string | symbol): void => {
    if (event === 'finish' || event === 'close') {
      this.release();
    }
  };
}
