import type { GraphQLOperations } from './operations.js';

/** Where the events of a subscription come from. */
export type Source = AsyncIterator<unknown>;

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof (value as { readonly [Symbol.asyncIterator]?: unknown } | null | undefined)?.[
      Symbol.asyncIterator
    ] === 'function'
  );
}

/** Closes a source that nobody will read; what it throws is of no consequence for anybody. */
export async function closeSource(source: unknown): Promise<void> {
  try {
    await (source as Partial<Source> | null | undefined)?.return?.();
  } catch {
    // The error that made it superfluous is the one to report.
  }
}

/**
 * What a resolver of a subscription has made, run outside of any context: a generator works in the async
 * context of its reader, and waits for most of the time.
 */
export class OutsideSource implements AsyncIterableIterator<unknown> {
  readonly #operations: GraphQLOperations;
  readonly #source: Source;

  constructor(operations: GraphQLOperations, source: Source) {
    this.#operations = operations;
    this.#source = source;
  }

  next(): Promise<IteratorResult<unknown>> {
    return this.#operations.runOutside(() => this.#source.next());
  }

  return(): Promise<IteratorResult<unknown>> {
    return this.#operations.runOutside(() => returnOf(this.#source));
  }

  throw(error: unknown): Promise<IteratorResult<unknown>> {
    return this.#operations.runOutside(() => throwAt(this.#source, error));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** Closes a source, which need not be able to. */
export function returnOf(source: Source): Promise<IteratorResult<unknown>> {
  return source.return?.() ?? Promise.resolve({ done: true, value: undefined });
}

/** Fails a source, which need not be able to. */
export function throwAt(source: Source, error: unknown): Promise<IteratorResult<unknown>> {
  return source.throw?.(error) ?? Promise.reject(error);
}
