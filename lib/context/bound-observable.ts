import { AsyncResource } from 'node:async_hooks';

import { Observable, type Subscriber, type TeardownLogic } from 'rxjs';

import type { Context } from './context.js';
import type { ContextRegistry } from './context-registry.js';

/** What becomes of the values of a bound observable, inside of its context. */
export type Projection<T, R> = (source: Observable<T>) => Observable<R>;

/** See {@link UnitsOfWork.bind}. */
export function bindObservable<T, R>(
  registry: ContextRegistry,
  source: Observable<T>,
  project: Projection<T, R>,
): Observable<R> {
  return new Observable((subscriber) =>
    registry.active() === undefined
      ? subscribeInOwn(registry, project(deliveredHere(source)), subscriber)
      : project(deliveredHere(source)).subscribe(subscriber),
  );
}

/**
 * Delivers the values where it is subscribed to: in the context there, and with the stores of the
 * application, although they come from an event of a socket.
 */
function deliveredHere<T>(source: Observable<T>): Observable<T> {
  return new Observable((subscriber) => {
    const here = new AsyncResource('nestjs-db-context:bind');
    return source.subscribe({
      next: (value) => here.runInAsyncScope(() => subscriber.next(value)),
      error: (error: unknown) => here.runInAsyncScope(() => subscriber.error(error)),
      complete: () => here.runInAsyncScope(() => subscriber.complete()),
    });
  });
}

/** Subscribes in a context of its own, which is settled before the subscriber hears of the end (S1). */
function subscribeInOwn<T>(
  registry: ContextRegistry,
  source: Observable<T>,
  subscriber: Subscriber<T>,
): TeardownLogic {
  const context = registry.open('dbContext.bind()');
  let heldBack: { readonly value: T } | undefined;
  let isFinishing = false;
  const passHeldBack = (): void => {
    if (heldBack !== undefined) {
      subscriber.next(heldBack.value);
    }
  };
  const subscription = registry.runIn(context, () =>
    source.subscribe({
      next: (value) => {
        // The last value is passed on after the commit: its receiver may take it for a success.
        passHeldBack();
        heldBack = { value };
      },
      error: (reason: unknown) => {
        isFinishing = true;
        void registry.abandon(context).then(() => subscriber.error(reason));
      },
      complete: () => {
        isFinishing = true;
        registry.settle(context, 'commit').then(
          () => {
            passHeldBack();
            subscriber.complete();
          },
          (error: unknown) => subscriber.error(error),
        );
      },
    }),
  );
  const expire: NonNullable<Context['onExpire']> = (error) => {
    isFinishing = true;
    subscription.unsubscribe();
    subscriber.error(error);
  };
  context.onExpire = expire;
  return () => {
    subscription.unsubscribe();
    if (!isFinishing) {
      void registry.abandon(context);
    }
  };
}
