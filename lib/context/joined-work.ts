import { isObservable, Observable } from 'rxjs';

import { UnexpectedRollbackError } from '../errors.js';
import type { Context } from './context.js';

/**
 * Work in a context that somebody else ends (S8). Where that end comes before the work is over, the work
 * succeeds only if the context was committed (F4). A context that is still open is the affair of its owner.
 */
export class JoinedWork {
  readonly #context: Context;
  readonly #origin: string;
  /** Whether it is part of an end itself, as code of a flush is, for which that end waits. */
  readonly #isPartOfEnd: boolean;

  /** @param origin what errors call the work */
  constructor(context: Context, origin: string) {
    this.#context = context;
    this.#origin = origin;
    this.#isPartOfEnd = context.isEnding;
  }

  /**
   * Runs `callback`. A hook of the commit may wait for it, so that it does not wait for the commit.
   *
   * @throws what `callback` throws, or why its work is not saved
   */
  async run<T>(callback: () => T | Promise<T>): Promise<T> {
    const result = await callback();
    if (this.#context.isClosed) {
      await this.#assertSaved();
    }
    return result;
  }

  /**
   * Runs a handler, whose answer waits for a commit that has begun (S1).
   *
   * @returns what the handler returns; an Observable likewise waits before it completes
   */
  async serve(handler: () => Promise<unknown>): Promise<unknown> {
    const leave = this.#context.join(this.#origin);
    try {
      const result = await handler();
      if (isObservable(result)) {
        return this.observe(result);
      }
      if (this.#context.isEnding) {
        await this.#assertSaved();
      }
      return result;
    } finally {
      leave();
    }
  }

  /**
   * Passes on the values of a handler, the last one when it may be taken for a success.
   *
   * @param isLive whether each value is sent at once
   */
  observe(source: Observable<unknown>, { isLive = false } = {}): Observable<unknown> {
    return new Observable((subscriber) => {
      const leave = this.#context.join(this.#origin);
      let heldBack: { readonly value: unknown } | undefined;
      const passHeldBack = (): void => {
        if (heldBack !== undefined) {
          subscriber.next(heldBack.value);
        }
      };
      const complete = (): void => {
        passHeldBack();
        subscriber.complete();
      };
      const subscription = source.subscribe({
        next: (value) => {
          passHeldBack();
          heldBack = isLive ? undefined : { value };
          if (isLive) {
            subscriber.next(value);
          }
        },
        error: (error: unknown) => subscriber.error(error),
        complete: () => {
          if (this.#context.isEnding) {
            this.#assertSaved().then(complete, (error: unknown) => subscriber.error(error));
          } else {
            complete();
          }
        },
      });
      return () => {
        leave();
        subscription.unsubscribe();
      };
    });
  }

  /** @throws why what it has done is not saved: the end of the context was no commit, or came before */
  async #assertSaved(): Promise<void> {
    if (this.#isPartOfEnd) {
      return;
    }
    try {
      // The end has begun already, so that nothing is decided here.
      await this.#context.settle('commit');
    } catch (error) {
      throw this.#errorFor(error);
    }
    const { lateLoss } = this.#context;
    if (lateLoss !== undefined) {
      throw lateLoss;
    }
  }

  #errorFor(error: unknown): unknown {
    if (!(error instanceof UnexpectedRollbackError)) {
      return error;
    }
    const place = { connectionName: error.connectionName, origin: this.#origin };
    const { endCause } = this.#context;
    const refusal =
      endCause === undefined
        ? new UnexpectedRollbackError(place, 'joined-context-ended', error)
        : new UnexpectedRollbackError(place, 'context-ended', undefined, endCause);
    // Nobody may await the work, as nobody has waited for it to end the context.
    this.#context.refused(refusal);
    return refusal;
  }
}
