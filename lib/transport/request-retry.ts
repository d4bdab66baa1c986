import { AsyncLocalStorage } from 'node:async_hooks';

import { catchError, Observable } from 'rxjs';

import type { DbContainer } from '../context/container.js';
import { drawPauseMs, mayRetry, type RetryOptions } from '../context/retry.js';
import { clientHasLeft, headersWereSent } from './http-exchange.js';
import { openForRequest } from './open-for-request.js';
import { RequestAttempt, type RequestInHand } from './request-attempt.js';
import type { RetryObstacle } from './route-log.js';

/**
 * Runs a handler, and runs it again in a new context when the server undid it for the sake of a
 * concurrent transaction, as often as its route allows.
 *
 * @param first the context of the first attempt
 * @param isInUse whether somebody has worked in `first` before: a new one would be without that
 * @returns fails with the error of the last attempt
 */
export function runAttempts(
  request: RequestInHand,
  retry: RetryOptions,
  first: DbContainer,
  isInUse: boolean,
): Observable<unknown> {
  const { host, log, response, route } = request;
  // Each attempt starts with the store as it is now, not with what an earlier one put into it.
  const asNow = AsyncLocalStorage.snapshot();
  const isTooLate = (): boolean =>
    response !== undefined && (headersWereSent(response) || clientHasLeft(response));

  const run = (container: DbContainer, number: number): Observable<unknown> => {
    const attempt = new RequestAttempt(request, container);
    return attempt.run().pipe(
      catchError((error: unknown) => {
        if (!mayRetry(retry, number, error) || attempt.isBeyondUndoing || isTooLate()) {
          throw error;
        }
        const obstacle = obstacleOf(container, isInUse);
        if (obstacle !== undefined) {
          log.notRunAgain(route, obstacle);
          throw error;
        }
        return runLater(number + 1, drawPauseMs(retry, number), error);
      }),
    );
  };

  const runLater = (number: number, pauseMs: number, error: unknown): Observable<unknown> =>
    new Observable((subscriber) =>
      asNow(() => {
        // Before the pause: a shutdown waits for it, or refuses it while the client can be told.
        const container = openForRequest(host, route.name, first.writtenLsns);
        let isWaiting = true;
        const timer = setTimeout(() => {
          isWaiting = false;
          if (isTooLate()) {
            void host.abandon(container).then(() => subscriber.error(error));
          } else {
            run(container, number).subscribe(subscriber);
          }
        }, pauseMs);
        return () => {
          clearTimeout(timer);
          if (isWaiting) {
            void host.abandon(container);
          }
        };
      }),
    );

  return run(first, 1);
}

function obstacleOf(container: DbContainer, isInUse: boolean): RetryObstacle | undefined {
  if (isInUse) {
    return 'work-before-handler';
  }
  return container.earlyCommits > 0 ? 'committed-early' : undefined;
}
