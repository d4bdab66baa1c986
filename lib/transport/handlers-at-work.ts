import { defer, tap, type Observable } from 'rxjs';

import type { Context } from '../context/context.js';
import { UnexpectedRollbackError } from '../errors.js';
import { mayHaveWritten } from './written-work.js';

/**
 * The handlers of a context that have begun what they have not ended, and have given no value of either. Who
 * asks for a commit meanwhile, as an interceptor does that answers in the place of one, would save a part of
 * their work (W3).
 */
export class HandlersAtWork {
  readonly #context: Context;
  #count = 0;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Why the context must not be committed now; one that has only read may be. */
  get refusal(): UnexpectedRollbackError | undefined {
    const writer = this.#count > 0 ? this.#context.sessions.find(mayHaveWritten) : undefined;
    return writer && new UnexpectedRollbackError(writer.place, 'unfinished-handler');
  }

  /** Something begins that the context must not be committed in the middle of. @returns is to be called at its end */
  begin(): () => void {
    let isAtWork = true;
    this.#count += 1;
    return () => {
      this.#count -= isAtWork ? 1 : 0;
      isAtWork = false;
    };
  }

  /** @param onLateFailure hears of a failure that comes after the commit, so that no answer says it */
  async during<T>(work: () => PromiseLike<T>, onLateFailure: (error: unknown) => void): Promise<T> {
    const end = this.begin();
    try {
      return await work();
    } catch (error) {
      if (this.#context.isCommitted) {
        onLateFailure(error);
      }
      throw error;
    } finally {
      end();
    }
  }

  /** Values of which one that is left before the first has not ended, and goes on or not, as its code likes. */
  untilFirst(values: Observable<unknown>): Observable<unknown> {
    return defer(() => {
      const end = this.begin();
      return values.pipe(tap({ next: end, error: end, complete: end }));
    });
  }
}
