import { AsyncLocalStorage } from 'node:async_hooks';

import type { ExecutionContext, NestInterceptor } from '@nestjs/common';
import { defer, EMPTY, mergeAll, Observable, of, throwError } from 'rxjs';

/** A request whose context lies inside of interceptors. */
export interface SurroundedRequest {
  readonly executionContext: ExecutionContext;
  /** The outermost comes first. */
  readonly interceptors: readonly NestInterceptor[];
  /** Opens the context, serves the request and settles it. */
  serve(): Observable<unknown>;
  /** Whether a middleware has opened a context that nobody has settled: no interceptor went on to it. */
  isUnclaimed(): boolean;
  /** Settles that context by what the interceptors have answered themselves, and passes it on. */
  settle(answer: Observable<unknown>): Observable<unknown>;
}

/** Runs interceptors around a request, as Nest runs them. */
export function runAround(
  request: Pick<SurroundedRequest, 'executionContext' | 'interceptors' | 'serve'>,
): Observable<unknown> {
  const { executionContext, serve } = request;
  const [interceptor, ...interceptors] = request.interceptors;
  if (interceptor === undefined) {
    return serve();
  }
  const handle = (): Observable<unknown> => {
    // What the interceptor puts into the async context holds further in, whatever subscribes.
    const within = AsyncLocalStorage.snapshot();
    return new Observable((subscriber) =>
      within(() => runAround({ executionContext, interceptors, serve }).subscribe(subscriber)),
    );
  };
  return defer(async () => interceptor.intercept(executionContext, { handle })).pipe(mergeAll());
}

/**
 * As `runAround()`, and settles the context that a middleware has opened where an interceptor answers
 * without going on: what guards have done in it is committed or rolled back before the answer leaves (W1).
 */
export function runAndSettleAround(request: SurroundedRequest): Observable<unknown> {
  return new Observable((subscriber) => {
    let last: Observable<unknown> = EMPTY;
    return runAround(request).subscribe({
      next: (value) => {
        if (request.isUnclaimed()) {
          last = of(value);
        } else {
          subscriber.next(value);
        }
      },
      error: (error: unknown) => {
        if (request.isUnclaimed()) {
          request.settle(throwError(() => error)).subscribe(subscriber);
        } else {
          subscriber.error(error);
        }
      },
      complete: () => {
        if (request.isUnclaimed()) {
          request.settle(last).subscribe(subscriber);
        } else {
          subscriber.complete();
        }
      },
    });
  });
}
