import { isObservable } from 'rxjs';

import type { Context } from '../context/context.js';
import type { HandlerEnd } from '../context/handler-end.js';
import type { UnexpectedRollbackError } from '../errors.js';
import { HandlersAtWork } from '../transport/handlers-at-work.js';
import { isPromise } from '../transport/is-promise.js';

/**
 * The resolvers of an operation, many of which may be at work at the same time. They have all returned when it
 * is answered, unless an interceptor, or the error of another field, has answered in their place.
 */
export class ResolverCalls implements HandlerEnd {
  readonly #atWork: HandlersAtWork;
  readonly #onLateFailure: (error: unknown) => void;

  /** @param onLateFailure hears of resolvers that fail after the commit */
  constructor(context: Context, onLateFailure: (error: unknown) => void) {
    this.#atWork = new HandlersAtWork(context);
    this.#onLateFailure = onLateFailure;
  }

  /** Why the operation must not be committed now. */
  get refusal(): UnexpectedRollbackError | undefined {
    return this.#atWork.refusal;
  }

  begins(): boolean {
    return true;
  }

  returned(result: unknown): unknown {
    if (isObservable(result)) {
      return this.#atWork.untilFirst(result);
    }
    return isPromise(result) ? this.#atWork.during(() => result, this.#onLateFailure) : result;
  }
}
