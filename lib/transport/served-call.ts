import { AsyncResource } from 'node:async_hooks';

import { StreamableFile } from '@nestjs/common';
import {
  isObservable,
  Observable,
  throwError,
  type Observer,
  type Subscribable,
  type TeardownLogic,
  type Unsubscribable,
} from 'rxjs';

import type { HandlerCall } from './interceptor-chain.js';
import type { AttemptOutlet } from './request-attempt.js';

/**
 * A handler whose answer goes from one promise to another: no Observable is made for it, unless it, or an
 * interceptor inside of ours, brings one itself.
 */
export class ServedCall implements AttemptOutlet, Subscribable<unknown> {
  /** What Nest is to answer with: the value, or an Observable of it. */
  readonly answer: Promise<unknown>;
  readonly #call: HandlerCall;
  /** Where the answer goes: to the promise, or to who has subscribed to the Observable. */
  #outlet: Observer<unknown> | undefined;
  #resolve!: (answer: unknown) => void;
  #reject!: (error: unknown) => void;
  #value: unknown;
  #hasReturned = false;
  #isStopped = false;
  #isClosed = false;
  /** What is to be done when nobody waits for the answer any more. */
  #teardown: (() => void) | undefined;

  constructor(call: HandlerCall) {
    this.#call = call;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get closed(): boolean {
    return this.#isClosed;
  }

  next(value: unknown): void {
    if (this.#outlet === undefined) {
      this.#value = value;
    } else {
      this.#outlet.next(value);
    }
  }

  error(error: unknown): void {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    if (this.#outlet !== undefined) {
      this.#outlet.error(error);
    } else if (this.#hasReturned) {
      // Nest closes the files that a handler has returned only where an Observable fails.
      this.#resolve(throwError(() => error));
    } else {
      this.#reject(error);
    }
    this.#teardown?.();
  }

  complete(): void {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    if (this.#outlet === undefined) {
      this.#resolve(this.#value);
    } else {
      this.#outlet.complete();
    }
    this.#teardown?.();
  }

  /** Keeps what is to be done at the end, or when the client of an Observable has left. */
  endWith(teardown: TeardownLogic): void {
    this.#teardown = teardown as (() => void) | undefined;
  }

  /** Calls the handler. May be called once. */
  subscribe(observer: Observer<unknown>): Unsubscribable {
    this.#call.run().then(
      (result) => this.#returned(result, observer),
      (error: unknown) => {
        if (!this.#isStopped) {
          observer.error(error);
        }
      },
    );
    return { unsubscribe: () => this.#stop() };
  }

  #stop(): void {
    this.#isStopped = true;
  }

  #returned(result: unknown, observer: Observer<unknown>): void {
    this.#hasReturned = true;
    if (this.#isStopped) {
      closeFile(result);
    } else if (isObservable(result)) {
      this.#handOver(result, observer);
    } else {
      observer.next(result);
      observer.complete();
    }
  }

  /** Answers with an Observable, as Nest unsubscribes from one of a handler when the client leaves. */
  #handOver(values: Observable<unknown>, observer: Observer<unknown>): void {
    const within = new AsyncResource('DbContextInterceptor');
    this.#resolve(
      new Observable((subscriber) => {
        this.#outlet = subscriber;
        const subscription = within.runInAsyncScope(() => values.subscribe(observer));
        return () => {
          subscription.unsubscribe();
          this.#isClosed = true;
          this.#teardown?.();
        };
      }),
    );
  }
}

/** A file that came too late to be sent would stay open. */
function closeFile(result: unknown): void {
  if (result instanceof StreamableFile) {
    result.getStream().destroy();
  }
}
