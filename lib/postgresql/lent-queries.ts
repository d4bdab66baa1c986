import { AsyncResource } from 'node:async_hooks';

import type { LendableClient } from './lendable-client.js';
import type { Lender } from './lender.js';

/** A query of the borrower, on its way to pg. */
export interface LentQuery {
  readonly sql: string;
  readonly values: readonly unknown[];
  /** Hands it to pg. */
  send(): void;
  /** Gives the borrower the reason why it is not sent. */
  refuse(error: unknown): void;
  /** The server is ready for the next one, or the connection is over. */
  leave(how: 'answered' | 'cut'): void;
}

interface Waiting {
  readonly query: LentQuery;
  /** Sends it in the asynchronous context of the code that asked for it. */
  readonly send: () => void;
}

/**
 * The queries of the borrower, which pg is handed one at a time: pg itself would send the next one of its
 * queue before anybody has looked whether the answer to the last one has ended the transaction (F3).
 */
export class LentQueries {
  readonly #client: LendableClient;
  readonly #lender: Lender;
  readonly #waiting: Waiting[] = [];
  #active: LentQuery | undefined;
  #isShut = false;

  constructor(client: LendableClient, lender: Lender) {
    this.#client = client;
    this.#lender = lender;
  }

  /** Why nothing is sent any more, if nothing is. */
  get refusal(): unknown {
    if (this.#isShut) {
      return this.#lender.closed();
    }
    return thrownBy(() => this.#lender.assertOpen());
  }

  /** Sends a query as its turn comes. */
  add(query: LentQuery): void {
    if (this.#active === undefined) {
      this.#send(query);
    } else {
      this.#waiting.push({ query, send: AsyncResource.bind(() => this.#send(query)) });
    }
  }

  /** Sends nothing more: what waits is refused. */
  shut(): void {
    this.#isShut = true;
    this.#waiting.splice(0).forEach(({ query }) => query.refuse(this.refusal));
  }

  #send(query: LentQuery): void {
    const refusal = this.refusal ?? thrownBy(() => this.#lender.sends(query.sql, query.values));
    if (refusal !== undefined) {
      query.refuse(refusal);
      return;
    }
    this.#active = query;
    // Emitted when pg has nothing left to send, so after each query.
    this.#client.once('drain', this.#onDrain);
    this.#client.once('end', this.#onEnd);
    this.#lender.handOver(query);
  }

  readonly #onDrain = (): void => this.#next('answered');
  readonly #onEnd = (): void => this.#next('cut');

  #next(how: 'answered' | 'cut'): void {
    this.#client.removeListener('drain', this.#onDrain);
    this.#client.removeListener('end', this.#onEnd);
    this.#active?.leave(how);
    this.#active = undefined;
    while (this.#active === undefined && this.#waiting.length > 0) {
      this.#waiting.shift()!.send();
    }
  }
}

function thrownBy(work: () => void): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
}
