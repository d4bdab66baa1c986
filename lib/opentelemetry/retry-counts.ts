import { AsyncLocalStorage } from 'node:async_hooks';

import type { ContextInfo, RetryEvent, TransactionInfo } from '../telemetry/index.js';

/** How often the work that a transaction is part of has been run again before. */
export class RetryCounts {
  /** For work that goes on in the code which has published the retry. */
  readonly #here = new AsyncLocalStorage<number>();
  readonly #ofContexts = new WeakMap<ContextInfo, number>();
  /** A route opens the context of its next attempt at once, in the async context of its first one. */
  #next: RetryEvent | undefined;

  retried(event: RetryEvent): void {
    this.#here.enterWith(event.attempt);
    this.#next = event;
    queueMicrotask(() => {
      this.#next = undefined;
    });
  }

  opened(context: ContextInfo): void {
    if (this.#next?.origin === context.origin) {
      this.#ofContexts.set(context, this.#next.attempt);
      this.#next = undefined;
    }
  }

  of({ context }: TransactionInfo): number | undefined {
    const ofContext = context && this.#ofContexts.get(context);
    return ofContext ?? this.#here.getStore();
  }
}
