import { AsyncResource } from 'node:async_hooks';

import type { LendableClient } from './lendable-client.js';
import type { Lender } from './lender.js';
import type { LentQuery } from './lent-queries.js';
import type { PgResult } from './pg-client.js';

type Result = PgResult | PgResult[];

/** How pg hands an answer over, synchronously: the next query of its queue has not left then. */
export type QueryCallback = (error: unknown, answer: Result | undefined) => void;

/** The arguments of `query()` without a callback. */
export interface QueryInput {
  readonly first: unknown;
  readonly values: unknown;
}

/** A text of the borrower, or an object with one, whose answer pg collects. */
export class LentPlainQuery implements LentQuery {
  readonly sql: string;
  readonly values: readonly unknown[];
  readonly #client: LendableClient;
  readonly #lender: Lender;
  readonly #input: QueryInput;
  readonly #callback: QueryCallback;
  #startedAt = 0;

  /** @param callback called once, in the asynchronous context of the caller */
  constructor(client: LendableClient, lender: Lender, input: QueryInput, callback: QueryCallback) {
    [this.sql, this.values] = textOf(input);
    this.#client = client;
    this.#lender = lender;
    this.#input = input;
    this.#callback = AsyncResource.bind(callback);
  }

  send(): void {
    this.#startedAt = performance.now();
    const client = this.#client as { query(query: unknown): unknown };
    try {
      client.query(withCallback(this.#input, AsyncResource.bind(this.#onAnswer)));
    } catch (error) {
      this.#onAnswer(error, undefined);
    }
  }

  refuse(error: unknown): void {
    process.nextTick(this.#callback, error, undefined);
  }

  leave(): void {
    // Its callback has been called.
  }

  readonly #onAnswer: QueryCallback = (error, answer) => {
    if (answer === undefined) {
      this.#fail(error);
      return;
    }
    try {
      this.#lender.answered(this.sql, answer, performance.now() - this.#startedAt);
    } catch (failure) {
      this.#fail(failure);
      return;
    }
    this.#callback(null, answer);
  };

  #fail(error: unknown): void {
    this.#lender.failed(this.sql, error);
    this.#callback(error, undefined);
  }
}

/** The text and the values of a query, in whichever form pg was given it. */
export function textOf({ first, values }: QueryInput): [string, readonly unknown[]] {
  const query = (typeof first === 'string' ? { text: first } : (first ?? {})) as {
    readonly text?: unknown;
    readonly values?: unknown;
    /** A stream of `pg-query-stream` keeps them there. */
    readonly cursor?: { readonly text?: unknown };
  };
  const text = query.text ?? query.cursor?.text;
  const given = Array.isArray(values) ? values : query.values;
  return [typeof text === 'string' ? text : '', Array.isArray(given) ? given : []];
}

/** The query as pg is to have it. The object of the borrower is not written to, as pg would do. */
function withCallback({ first, values }: QueryInput, callback: QueryCallback): unknown {
  const own: Record<PropertyKey, unknown> = { callback, ...(values == null ? {} : { values }) };
  if (typeof first !== 'object' || first === null) {
    return first == null ? first : { text: first, ...own };
  }
  return new Proxy(first, {
    get: (target, key) =>
      Object.hasOwn(own, key) ? own[key] : (Reflect.get(target, key, target) as unknown),
  });
}
