import type { EventEmitter } from 'node:events';

import type { PgClient, PgResult } from './pg-client.js';

type Result = PgResult | PgResult[];

/** The members of pg's client that only a client that is lent needs. */
export interface LendableClient extends PgClient {
  readonly connection: PgClient['connection'] & {
    /** Emits each error of the server, also those of cursors and copies. */
    on(event: 'errorMessage', listener: (error: unknown) => void): unknown;
    off(event: 'errorMessage', listener: (error: unknown) => void): unknown;
  };
  /** Whether the server has answered everything that was sent, so that the next query leaves at once. */
  readonly readyForQuery: boolean;
  /** `drain`: the server has answered everything. `end`: the connection is over. */
  once(event: 'drain' | 'end', listener: () => void): unknown;
  removeListener(event: string | symbol, listener: (...args: never[]) => void): unknown;
}

/** What the server has refused; `undefined` where it has refused nothing. */
interface Failed {
  readonly error: unknown;
}

/** What a client is lent for: it is told of each query, and refuses in the name of its lender. */
export interface Lender {
  /** @throws why nothing may be sent any more */
  assertOpen(): void;
  /** The error for the use of a client that has been given back. */
  readonly isBack: Error;
  /** The error for a call that only the lender may make. */
  refusal(call: string, advice: string): Error;
  /** A query is about to be sent. */
  sends(sql: string, values: readonly unknown[]): void;
  /**
   * The server has answered a query.
   *
   * @param answer `undefined` where pg was given a query object, which keeps it for itself
   * @param failure what has made the transaction fail, if it has failed
   */
  answered(sql: string, answer: Result | undefined, tookMs: number, failure: Failed): void;
  failed(sql: string, error: unknown): void;
}

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
  readonly #unanswered = new Set<Query>();
  /** The query objects that the server has not answered. */
  readonly #submitted = new Set<unknown>();
  #failure: Failed = { error: undefined };
  #isBack = false;

  constructor(client: LendableClient, lender: Lender) {
    this.#client = client;
    this.#lender = lender;
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
    for (const { promise } of this.#unanswered) {
      // Nobody waits for it, and its failure would end the process.
      promise?.catch(ignore);
    }
    for (const each of this.#submitted) {
      // As is an error event of a stream that nobody listens to.
      if (has(each, 'on')) {
        (each as EventEmitter).on('error', ignore);
      }
    }
    return this.#unanswered.size;
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
      throw this.#lender.isBack;
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
        throw this.#lender.isBack;
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

  #query(args: QueryArguments): unknown {
    const [first, ...rest] = args;
    if (has(first, 'submit') || has(first, 'callback')) {
      return this.#submit(args);
    }
    const callback = rest.find((each) => typeof each === 'function');
    return callback === undefined
      ? this.#promise(args)
      : this.#callBack(args, callback as QueryCallback);
  }

  /** Sends a query that brings what handles its answer: a cursor, a copy, a query of pg. */
  #submit(args: QueryArguments): unknown {
    const [sql, values] = textOf(args);
    const startedAt = this.#sends(sql, values);
    this.#submitted.add(args[0]);
    this.#client.once('drain', () => {
      this.#submitted.delete(args[0]);
      this.#lender.answered(sql, undefined, performance.now() - startedAt, this.#failure);
    });
    return this.#client.query(...(args as Parameters<PgClient['query']>));
  }

  #promise(args: QueryArguments): Promise<unknown> {
    const query: Query = {};
    query.promise = this.#answer(args, query);
    return query.promise;
  }

  async #answer(args: QueryArguments, query: Query): Promise<unknown> {
    const [sql, values] = textOf(args);
    const startedAt = this.#sends(sql, values);
    this.#unanswered.add(query);
    try {
      const answer = await this.#client.query(...(args as Parameters<PgClient['query']>));
      this.#lender.answered(sql, answer, performance.now() - startedAt, this.#failure);
      return answer;
    } catch (error) {
      this.#lender.failed(sql, error);
      throw error;
    } finally {
      this.#unanswered.delete(query);
    }
  }

  #callBack(args: QueryArguments, callback: QueryCallback): unknown {
    const [sql, values] = textOf(args);
    const startedAt = this.#sends(sql, values);
    const query: Query = {};
    this.#unanswered.add(query);
    const noted: QueryCallback = (error, answer) => {
      this.#unanswered.delete(query);
      if (answer === undefined) {
        this.#lender.failed(sql, error);
      } else {
        this.#lender.answered(sql, answer, performance.now() - startedAt, this.#failure);
      }
      callback(error, answer);
    };
    const noting = args.map((each) => (each === callback ? noted : each));
    return this.#client.query(...(noting as unknown as Parameters<PgClient['query']>));
  }

  /** @returns when it is sent, by the clock of `performance.now()` */
  #sends(sql: string, values: readonly unknown[]): number {
    if (this.#isBack) {
      throw this.#lender.isBack;
    }
    this.#lender.assertOpen();
    this.#lender.sends(sql, values);
    return performance.now();
  }
}

type QueryCallback = (error: unknown, answer: Result | undefined) => void;

/** A query that has not been answered, with the promise of its answer where that was asked for. */
interface Query {
  promise?: Promise<unknown>;
}

/** The text and the values of a query, in whichever form pg was given it. */
function textOf([first, second]: QueryArguments): [sql: string, values: readonly unknown[]] {
  const { text, values } = (typeof first === 'string' ? { text: first } : (first ?? {})) as {
    readonly text?: unknown;
    readonly values?: unknown;
  };
  const given = Array.isArray(second) ? second : values;
  return [typeof text === 'string' ? text : '', Array.isArray(given) ? given : []];
}

function has(value: unknown, method: string): boolean {
  return typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function';
}
