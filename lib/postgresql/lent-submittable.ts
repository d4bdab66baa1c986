import type { Writable } from 'node:stream';

import type { LendableClient } from './lendable-client.js';
import type { Failed, Lender } from './lender.js';
import type { LentQuery } from './lent-queries.js';
import { textOf, type QueryInput } from './lent-plain-query.js';
import { LentWire } from './lent-wire.js';
import type { PgResult } from './pg-client.js';
import { endsConnection, isServerError } from './server-errors.js';

/** What handles its answer itself: a cursor, a copy, a stream, a query object of pg. */
interface Submittable {
  submit(connection: object): unknown;
  handleError?(error: unknown, connection: object | undefined): void;
}

interface CommandComplete {
  readonly text: string;
}

/**
 * A query object of the borrower. pg gets one that stands for it, so that the connection that it is given
 * is of no use after its answer, and that what its end breaks off fails with an error of the lender.
 */
export class LentSubmittable implements LentQuery {
  readonly sql: string;
  readonly values: readonly unknown[];
  readonly #client: LendableClient;
  readonly #lender: Lender;
  readonly #object: Submittable;
  readonly #rest: readonly unknown[];
  readonly #failure: () => Failed;
  readonly #onOver: () => void;
  readonly #wire: LentWire;
  readonly #tags: PgResult[] = [];
  #startedAt = 0;
  #isClosed = false;
  /** Called with an error event that nobody listens to; `undefined` where it ends the process, as with pg. */
  #unheard: ((error: unknown) => void) | undefined;

  /**
   * @param rest the arguments of `query()` after the object
   * @param failure what has made the transaction fail, if it has failed
   * @param onOver called as it is answered, cut or refused
   */
  constructor(
    client: LendableClient,
    lender: Lender,
    input: QueryInput,
    rest: readonly unknown[],
    failure: () => Failed,
    onOver: () => void,
  ) {
    [this.sql, this.values] = textOf(input);
    this.#client = client;
    this.#lender = lender;
    this.#object = input.first as Submittable;
    this.#rest = rest;
    this.#failure = failure;
    this.#onOver = onOver;
    this.#wire = new LentWire(client.connection);
  }

  send(): void {
    this.#startedAt = performance.now();
    this.#client.connection.on('commandComplete', this.#noteTag);
    const client = this.#client as { query(...args: readonly unknown[]): unknown };
    client.query(this.#standIn(), ...this.#rest);
  }

  refuse(error: unknown): void {
    this.#onOver();
    this.#catchUnheard((unheard) => this.#lender.unheard(unheard));
    // The borrower has not had it back yet, and so no listener for the error.
    process.nextTick(() => this.#fail(error));
  }

  leave(how: 'answered' | 'cut'): void {
    this.#client.connection.off('commandComplete', this.#noteTag);
    this.#wire.end(how);
    this.#onOver();
    const tookMs = performance.now() - this.#startedAt;
    this.#lender.returned(this.sql, this.#tags, tookMs, this.#failure());
  }

  /** The lender has taken the client back, and says so itself: an error event needs no listener (S5). */
  close(): void {
    this.#isClosed = true;
    this.#catchUnheard(() => undefined);
  }

  #catchUnheard(report: (error: unknown) => void): void {
    this.#unheard = report;
    // A cursor only emits an error where somebody listens to it, and gives it to its reader in any case.
    if (has(this.#object, 'destroy')) {
      const stream = this.#object as unknown as Writable;
      stream.prependListener('error', (error) => {
        // Each pipe() has a listener of either kind, and emits the error again where it is alone.
        const pipes = stream.listenerCount('unpipe');
        if (stream.listenerCount('error') - pipes === 1) {
          report(error);
        }
      });
    }
  }

  readonly #noteTag = ({ text }: CommandComplete): void => {
    this.#tags.push({ command: text.replace(/[\s\d]+$/, ''), rowCount: null, rows: [] });
  };

  #standIn(): object {
    const wire = this.#wire;
    return new Proxy(this.#object, {
      get: (target, key) => {
        if (key === 'handleError') {
          return (error: unknown) => this.#onError(error);
        }
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' && key !== 'constructor'
          ? (...args: unknown[]) =>
              Reflect.apply(value, target, args.map(wire.standInFor)) as unknown
          : value;
      },
      set: (target, key, value) => Reflect.set(target, key, value, target),
    });
  }

  #onError(error: unknown): void {
    this.#fail(this.#isClosed ? this.#lender.closed(error) : error);
  }

  #fail(error: unknown): void {
    const isCut = !isServerError(error) || endsConnection(error);
    if (isCut && has(this.#object, 'destroy')) {
      const stream = this.#object as unknown as Writable;
      // A copy stays open after an error, and the next chunk that it is given would throw.
      stream.destroy(error as Error);
      if (stream.closed) {
        return;
      }
    }
    try {
      this.#object.handleError?.(error, this.#wire.connection);
    } catch (thrown) {
      // What an emitter throws whose error event nobody listens to.
      if (this.#unheard === undefined) {
        throw thrown;
      }
      this.#unheard(thrown);
    }
  }
}

function has(value: unknown, method: string): boolean {
  return typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function';
}
