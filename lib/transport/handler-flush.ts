import {
  concatMap,
  dematerialize,
  from,
  isObservable,
  materialize,
  of,
  type Observable,
} from 'rxjs';

import type { Context } from '../context/context.js';
import { flushContext } from '../context/flush-context.js';
import type { HandlerEnd } from '../context/handler-end.js';
import type { UnexpectedRollbackError } from '../errors.js';
import { HandlersAtWork } from './handlers-at-work.js';
import { outcomeOfValue } from './outcome-of-value.js';
import type { InterceptedRequest } from './intercepted-request.js';
import { isPromise } from './is-promise.js';
import { handlePromisesIn } from './promises-in-value.js';

/**
 * Flushes the sessions of a request as its handler returns, before inner interceptors and whatever else
 * sees the value (S3), and knows whether it is still at work when somebody else answers in its place (W3).
 *
 * Of an Observable each value waits for a flush of what came before it: each is seen, by interceptors and
 * over a stream by the client, as if it were the only one.
 */
export class HandlerFlush implements HandlerEnd {
  readonly #request: InterceptedRequest;
  readonly #context: Context;
  readonly #atWork: HandlersAtWork;
  #hasBegun = false;

  constructor(request: InterceptedRequest, context: Context) {
    this.#request = request;
    this.#context = context;
    this.#atWork = new HandlersAtWork(context);
  }

  /** Why an answer that comes now must not be committed: it is not that of the handler, which is still at work. */
  get refusal(): UnexpectedRollbackError | undefined {
    return this.#atWork.refusal;
  }

  takes(method: object): boolean {
    // Called by the handler once more, it is a method like any other.
    const isHandler = !this.#hasBegun && method === this.#request.route.handler;
    this.#hasBegun ||= isHandler;
    return isHandler;
  }

  returned(result: unknown): unknown {
    if (isObservable(result)) {
      return this.#eachOf(result);
    }
    if (this.#request.interceptors.length === 0) {
      // The flush of the commit comes next anyway.
      return result;
    }
    return isPromise(result) ? this.#awaited(result) : this.#afterFlush(result);
  }

  #awaited(result: PromiseLike<unknown>): Promise<unknown> {
    const { log, route } = this.#request;
    return this.#atWork.during(
      async () => this.#afterFlush(await result),
      (error) => log.failedAfterAnswer(route.name, error),
    );
  }

  #eachOf(values: Observable<unknown>): Observable<unknown> {
    return this.#atWork.untilFirst(from(values)).pipe(
      // An error waits for its turn as a value does: it would end the flush of those before it, and they with it.
      materialize(),
      concatMap((each) => {
        const flushed = each.kind === 'N' ? this.#flush(each.value) : undefined;
        return flushed === undefined ? of(each) : from(flushed.then(() => each));
      }),
      dematerialize(),
    );
  }

  #afterFlush(value: unknown): unknown {
    // Nest takes the Observable of a promise for one that was returned.
    return isObservable(value)
      ? this.#eachOf(value)
      : (this.#flush(value)?.then(() => value) ?? value);
  }

  #flush(value: unknown): Promise<void> | undefined {
    const { registry } = this.#request;
    if (!this.#request.flushesHandler || !this.#willCommit(value)) {
      return undefined;
    }
    handlePromisesIn(value);
    // In the context, whatever emits the value.
    return registry.runIn(this.#context, () => flushContext(this.#context));
  }

  /** Whether the request would be committed as it stands: what is rolled back has nothing to be written. */
  #willCommit(value: unknown): boolean {
    try {
      return this.#request.commitOn(outcomeOfValue(this.#request, value));
    } catch {
      // It throws again as the request is settled, and that is the response.
      return false;
    }
  }
}
