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
import { outcomeOfValue } from './outcome-of-value.js';
import type { InterceptedRequest } from './intercepted-request.js';
import { handlePromisesIn } from './promises-in-value.js';

/**
 * Flushes the sessions of a request as its handler returns, before inner interceptors and whatever else
 * sees the value (S3).
 *
 * Of an Observable each value waits for a flush of what came before it: each is seen, by interceptors and
 * over a stream by the client, as if it were the only one.
 */
export class HandlerFlush implements HandlerEnd {
  readonly handler: object;
  readonly #request: InterceptedRequest;
  readonly #context: Context;

  constructor(request: InterceptedRequest, context: Context) {
    this.handler = request.route.handler;
    this.#request = request;
    this.#context = context;
  }

  returned(result: unknown): unknown {
    if (isObservable(result)) {
      return this.#eachOf(result);
    }
    if (this.#request.interceptors.length === 0) {
      // The flush of the commit comes next anyway.
      return result;
    }
    return isThenable(result)
      ? Promise.resolve(result).then((value) => this.#afterFlush(value))
      : this.#afterFlush(result);
  }

  #eachOf(values: Observable<unknown>): Observable<unknown> {
    return from(values).pipe(
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
    if (!this.#willCommit(value)) {
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

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
}
