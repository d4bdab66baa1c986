import type { ContextEndEvent, ContextInfo } from '../telemetry/index.js';
import { OWN_DECISION } from './transaction-span.js';

/** Ends a span, which is given why its transaction was rolled back. */
type Finish = (because: string) => void;

/**
 * Spans of transactions that were rolled back without an error: whether their own code decided that, or why
 * their context was ended by others, is known with the end of the context.
 */
export class UndecidedEnds {
  readonly #ends = new Map<ContextInfo, Finish[]>();

  add(context: ContextInfo, finish: Finish): void {
    const ends = this.#ends.get(context) ?? [];
    ends.push(finish);
    this.#ends.set(context, ends);
  }

  /** Its code goes on with another transaction, and so it has ended those before by itself. */
  goesOn(context: ContextInfo | undefined): void {
    if (context !== undefined && this.#ends.size > 0) {
      this.#finish(context, OWN_DECISION);
    }
  }

  ended({ context, reason }: ContextEndEvent): void {
    if (this.#ends.size > 0) {
      this.#finish(context, reason ?? OWN_DECISION);
    }
  }

  finishAll(): void {
    for (const context of this.#ends.keys()) {
      this.#finish(context, OWN_DECISION);
    }
  }

  #finish(context: ContextInfo, because: string): void {
    const ends = this.#ends.get(context) ?? [];
    this.#ends.delete(context);
    ends.forEach((finish) => finish(because));
  }
}
