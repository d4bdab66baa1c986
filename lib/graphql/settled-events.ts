import type { Answer } from './answer.js';

/** The answers to the events of a subscription, or the payloads of one answer, each settled before it is passed on. */
export class SettledEvents implements AsyncIterableIterator<Answer> {
  readonly #settle: (answer: Answer) => Answer | Promise<Answer>;
  readonly #events: AsyncIterator<Answer>;
  /** One event at a time: the next one begins when the last is settled. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(settle: (answer: Answer) => Answer | Promise<Answer>, events: AsyncIterator<Answer>) {
    this.#settle = settle;
    this.#events = events;
  }

  next(): Promise<IteratorResult<Answer>> {
    const next = this.#last.then(() => this.#next());
    this.#last = next.catch(() => undefined);
    return next;
  }

  async return(): Promise<IteratorResult<Answer>> {
    return (await this.#events.return?.()) ?? { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorResult<Answer>> {
    if (this.#events.throw === undefined) {
      throw error;
    }
    return this.#events.throw(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #next(): Promise<IteratorResult<Answer>> {
    const result = await this.#events.next();
    return result.done === true ? result : { done: false, value: await this.#settle(result.value) };
  }
}
