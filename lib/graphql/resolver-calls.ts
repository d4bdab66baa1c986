import { isObservable } from 'rxjs';

import type { HandlerEnd } from '../context/handler-end.js';
import type { HandlersAtWork } from '../transport/handlers-at-work.js';
import { isPromise } from '../transport/is-promise.js';

/**
 * Counts the resolvers of an operation, many of which may be at work at the same time. They have all returned when it
 * is answered, unless an interceptor, or the error of another field, has answered in their place.
 */
export class ResolverCalls implements HandlerEnd {
  readonly #atWork: HandlersAtWork;
  readonly #onLateFailure: (error: unknown) => void;

  /** @param onLateFailure hears of resolvers that fail after the commit */
  constructor(atWork: HandlersAtWork, onLateFailure: (error: unknown) => void) {
    this.#atWork = atWork;
    this.#onLateFailure = onLateFailure;
  }

  takes(): boolean {
    return true;
  }

  returned(result: unknown): unknown {
    if (isObservable(result)) {
      return this.#atWork.untilFirst(result);
    }
    return isPromise(result) ? this.#atWork.during(() => result, this.#onLateFailure) : result;
  }
}
