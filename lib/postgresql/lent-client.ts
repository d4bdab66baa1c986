import { DbContextError, SessionClosedError } from '../errors.js';
import type { LendableClient } from './lendable-client.js';
import type { Failed, Lender } from './lender.js';
import { LentPlainQuery, type QueryCallback, type QueryInput } from './lent-plain-query.js';
import { LentQueries } from './lent-queries.js';
import { LentSubmittable } from './lent-submittable.js';

/** What is not the borrower's to call, and what to do instead. */
const REFUSED: Readonly<Record<string, string>> = {
  release: 'The transaction gives it back. Leave release() out.',
  end: 'The transaction gives it back. Leave end() out.',
  connect: 'It is connected. Leave connect() out.',
  setTypeParser:
    'It would stay with the connection in the pool. Give the types with the query: ' +
    '{ text, values, types }.',
};

const ADD_LISTENER = new Set([
  'on',
  'once',
  'addListener',
  'prependListener',
  'prependOnceListener',
]);

const ignore = (): void => undefined;

/** The forms of `query()`, as pg takes them. */
type QueryArguments = readonly [first: unknown, ...rest: unknown[]];

type Listener = (...args: never[]) => void;

/**
 * A client of pg that is lent to code of the application for a while: that code gets a stand-in, which
 * does what the client does and is of no use afterwards. Nothing that is set or listened to through it
 * stays on the client.
 */
export class LentClient {
  /** What the borrower gets. */
  readonly standIn: object;
  readonly #client: LendableClient;
  readonly #lender: Lender;
  readonly #methods = new Map<PropertyKey, unknown>();
  readonly #listeners: (readonly [string | symbol, Listener])[] = [];
  readonly #queries: LentQueries;
  /** The answers that have not come. */
  readonly #unanswered = new Set<Unanswered>();
  /** The query objects that the server has not answered. */
  readonly #submitted = new Set<LentSubmittable>();
  #failure: Failed = { error: undefined };
  #isBack = false;

  constructor(client: LendableClient, lender: Lender) {
    this.#client = client;
    this.#lender = lender;
    this.#queries = new LentQueries(client, lender);
    client.connection.on('errorMessage', this.#noteError);
    // What is set on the stand-in stays on this object, of which the client is the prototype.
    const own = Object.create(client) as object;
    this.standIn = new Proxy(own, {
      get: (_, key) => (Object.hasOwn(own, key) ? Reflect.get(own, key) : this.#get(key)),
    });
  }

  /** The error of the server that made the transaction fail, if one did. */
  get failure(): Failed {
    return this.#failure;
  }

  /**
   * Makes the stand-in useless, and takes off the client what the borrower has left on it.
   *
   * @returns the number of queries that the borrower has sent and not waited for
   */
  takeBack(): number {
    this.#isBack = true;
    this.#client.connection.off('errorMessage', this.#noteError);
    for (const [event, listener] of this.#listeners) {
      this.#client.removeListener(event, listener);
    }
    const unanswered = this.#unanswered.size;
    for (const { promise } of this.#unanswered) {
      // Nobody waits for it, and its failure would end the process.
      promise?.catch(ignore);
    }
    this.#submitted.forEach((each) => each.close());
    this.#queries.shut();
    return unanswered;
  }

  readonly #noteError = (error: unknown): void => {
    // The server refuses everything after the first error of a transaction.
    if (this.#client.getTransactionStatus() !== 'E') {
      this.#failure = { error };
    }
  };

  #get(key: PropertyKey): unknown {
    const value: unknown = Reflect.get(this.#client, key, this.#client);
    if (typeof value === 'function' && key !== 'constructor') {
      return this.#method(key, value as Listener);
    }
    if (this.#isBack && typeof value === 'object' && value !== null) {
      throw this.#lender.closed();
    }
    return value;
  }

  /** A method of the stand-in; the same one each time that it is asked for. */
  #method(key: PropertyKey, method: Listener): unknown {
    const known = this.#methods.get(key);
    if (known !== undefined) {
      return known;
    }
    const made = this.#makeMethod(key, method as (...args: unknown[]) => unknown);
    this.#methods.set(key, made);
    return made;
  }

  #makeMethod(key: PropertyKey, method: (...args: unknown[]) => unknown): unknown {
    if (key === 'query') {
      return (...args: QueryArguments) => this.#query(args);
    }
    const advice = typeof key === 'string' ? REFUSED[key] : undefined;
    return (...args: unknown[]) => {
      if (this.#isBack) {
        throw this.#lender.closed();
      }
      if (advice !== undefined) {
        throw this.#lender.refusal(`${String(key)}()`, advice);
      }
      if (typeof key === 'string' && ADD_LISTENER.has(key)) {
        this.#listeners.push(args as never);
      }
      const result = Reflect.apply(method, this.#client, args);
      return result === this.#client ? this.standIn : result;
    };
  }

  #query([first, ...rest]: QueryArguments): unknown {
    const [values] = rest.filter((each) => typeof each !== 'function');
    const input: QueryInput = { first, values };
    if (has(first, 'submit')) {
      this.#submit(input, rest);
      return first;
    }
    const callback = rest.find((each) => typeof each === 'function') ?? callbackOf(first);
    if (callback === undefined) {
      return this.#promise(input);
    }
    this.#callBack(input, callback as QueryCallback);
    return undefined;
  }

  /** Sends a query that brings what handles its answer: a cursor, a copy, a query of pg. */
  #submit(input: QueryInput, rest: readonly unknown[]): void {
    const query: LentSubmittable = new LentSubmittable(
      this.#client,
      this.#lender,
      input,
      rest,
      () => this.#failure,
      () => this.#submitted.delete(query),
    );
    this.#submitted.add(query);
    this.#queries.add(query);
  }

  #promise(input: QueryInput): Promise<unknown> {
    const { refusal } = this.#queries;
    if (refusal !== undefined) {
      return Promise.reject(refusal);
    }
    const unanswered: Unanswered = {};
    unanswered.promise = this.#answer(input, unanswered);
    return unanswered.promise;
  }

  async #answer(input: QueryInput, unanswered: Unanswered): Promise<unknown> {
    try {
      return await new Promise((resolve, reject) => {
        this.#callBack(
          input,
          (error, answer) => (answer === undefined ? reject(error) : resolve(answer)),
          unanswered,
        );
      });
    } catch (error) {
      if (error instanceof SessionClosedError || !(error instanceof DbContextError)) {
        // The stack so far is that of the socket; this one has the functions that await the query.
        Error.captureStackTrace(error as Error);
      }
      throw error;
    }
  }

  #callBack(input: QueryInput, callback: QueryCallback, unanswered: Unanswered = {}): void {
    this.#unanswered.add(unanswered);
    const noted: QueryCallback = (error, answer) => {
      this.#unanswered.delete(unanswered);
      const isBroken =
        answer === undefined && this.#isBack && !(error instanceof SessionClosedError);
      callback(isBroken ? this.#lender.closed(error) : error, answer);
    };
    this.#queries.add(new LentPlainQuery(this.#client, this.#lender, input, noted));
  }
}

/** A query that has not been answered, with the promise of its answer where that was asked for. */
interface Unanswered {
  promise?: Promise<unknown>;
}

function callbackOf(query: unknown): unknown {
  return has(query, 'callback') ? (query as { readonly callback: unknown }).callback : undefined;
}

function has(value: unknown, method: string): boolean {
  return typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function';
}
