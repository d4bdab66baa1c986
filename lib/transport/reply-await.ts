import type { HttpResponse } from './http-exchange.js';
import type { NodeResponse } from './node-response.js';

type Then = (resolve: () => void, reject: (error: unknown) => void) => void;

/** The member of Fastify's reply by which a handler waits for its end: `await reply.send()`. */
interface Awaitable extends HttpResponse {
  then?: Then;
}

/**
 * Lets a handler of Fastify that waits for its reply (`return reply.send()`, `await reply`) go on when the
 * answer is complete and held back. Fastify itself lets it go on at once where nothing makes the sending
 * asynchronous, and else at the end of the response, which would be never.
 */
export class ReplyAwait {
  readonly #raw: NodeResponse;
  readonly #resolve: (() => void)[] = [];
  /** How many listeners for the end of the response are Fastify's, for those who wait. */
  listeners = 0;

  /** @returns `undefined` for a response that cannot be waited for */
  static of(response: HttpResponse, raw: NodeResponse): ReplyAwait | undefined {
    const reply = response as Awaitable;
    return reply.then === undefined ? undefined : new ReplyAwait(reply, reply.then, raw);
  }

  private constructor(reply: Awaitable, then: Then, raw: NodeResponse) {
    this.#raw = raw;
    const wait: Then = (resolve, reject) => this.#wait(reply, then, { resolve, reject });
    // oxlint-disable-next-line unicorn/no-thenable -- it has one already
    reply.then = wait;
  }

  /** Those who wait go on. */
  resolve(): void {
    this.#resolve.forEach((resolve) => resolve());
  }

  #wait(
    reply: Awaitable,
    then: Then,
    {
      resolve,
      reject,
    }: { readonly resolve: () => void; readonly reject: (error: unknown) => void },
  ): void {
    this.#resolve.push(resolve);
    const before = this.#raw.listenerCount('finish');
    Reflect.apply(then, reply, [resolve, reject]);
    this.listeners += this.#raw.listenerCount('finish') - before;
  }
}
