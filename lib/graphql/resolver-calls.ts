import { isObservable } from 'rxjs';

import type { Context } from '../context/context.js';
import type { HandlerEnd } from '../context/handler-end.js';
import type { UnexpectedRollbackError } from '../errors.js';
import { HandlersAtWork } from '../transport/handlers-at-work.js';
import { isPromise } from '../transport/is-promise.js';

/**
 * The resolvers of an operation, and what they have returned, much of which may be at work at the same time. All of it
 * has ended when the operation is answered, unless an interceptor, or the error of another field, has answered in
 * its place.
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

  /** A field, or an item of a list, is being resolved. @returns is to be called when it is */
  begin(): () => void {
    return this.#atWork.begin();
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
