import { AsyncLocalStorage } from 'node:async_hooks';

import { catchError, Observable } from 'rxjs';

import type { Context } from '../context/context.js';
import { drawPauseMs, mayRetry, publishRetry } from '../context/retry.js';
import type { RetryOptions } from '../options/retry-options.js';
import { clientHasLeft, headersWereSent } from './http-exchange.js';
import type { InterceptedRequest } from './intercepted-request.js';
import { nodeResponseOf } from './node-response.js';
import { openForRequest } from './open-for-request.js';
import { RequestAttempt } from './request-attempt.js';
import type { RetryObstacle } from './route-log.js';

/**
 * Runs a handler, and runs it again in a new context when the server has rolled its transaction back
 * because of a concurrent one, as often as its route allows.
 *
 * @param first the context of the first attempt
 * @param isInUse whether a guard or a middleware has worked in `first` already; a new context would be
 *   without that work
 * @returns an Observable that fails with the error of the last attempt
 */
export function runAttempts(
  request: InterceptedRequest,
  retry: RetryOptions,
  first: Context,
  isInUse: boolean,
): Observable<unknown> {
  const { registry, log, response, route } = request;
  // Each attempt starts with the async context of this call, not with what an earlier attempt put into
  // it.
  const runAsCalled = AsyncLocalStorage.snapshot();
  const raw = response && nodeResponseOf(response);
  const status = raw?.statusCode;
  const isTooLate = (): boolean =>
    response !== undefined && (headersWereSent(response) || clientHasLeft(response));

  const run = (context: Context, number: number): Observable<unknown> => {
    const attempt = new RequestAttempt(request, context);
    return attempt.run().pipe(
      catchError((error: unknown) => {
        if (!mayRetry(retry, number, error) || attempt.hasLastingEffect || isTooLate()) {
          throw error;
        }
        const obstacle = obstacleOf(context, isInUse);
        if (obstacle !== undefined) {
          log.notRetried(route, obstacle);
          throw error;
        }
        const pauseMs = drawPauseMs(retry, number);
        publishRetry(route.name, number, pauseMs, { error });
        return runLater(number + 1, pauseMs, error);
      }),
    );
  };

  const runLater = (number: number, pauseMs: number, error: unknown): Observable<unknown> =>
    new Observable((subscriber) =>
      runAsCalled(() => {
        // The context is opened before the pause, so that a shutdown waits for it, or refuses it while
        // the client can still get an error.
        const context = openForRequest(registry, {
          origin: route.name,
          response,
          isRequest: request.isRequest,
          writtenLsns: first.writtenLsns,
        });
        let isWaiting = true;
        const timer = setTimeout(() => {
          isWaiting = false;
          if (isTooLate()) {
            void registry.abandon(context).then(() => subscriber.error(error));
          } else {
            if (raw !== undefined && status !== undefined && route.answersByItself) {
              // That of the answer which was dropped is the one of an error.
              raw.statusCode = status;
            }
            run(context, number).subscribe(subscriber);
          }
        }, pauseMs);
        return () => {
          clearTimeout(timer);
          if (isWaiting) {
            void registry.abandon(context);
          }
        };
      }),
    );

  return run(first, 1);
}

function obstacleOf(context: Context, isInUse: boolean): RetryObstacle | undefined {
  if (isInUse) {
    return 'work-before-handler';
  }
  return context.earlyCommits > 0 ? 'committed-early' : undefined;
}
