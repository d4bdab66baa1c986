import type { Holder } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { ask } from './own-requests.js';

/** The transaction of a test, of which its work gets clients. */
export interface ServedTransaction {
  /** Number of transactions of the application that are open in it. */
  readonly openTransactions: number;
  /** A client for the unit of work of this holder. */
  clientFor(holder: Holder | undefined): PgClient;
  /** Rolls it back. */
  end(): Promise<void>;
}

/** What a place needs of the routing that it is part of. */
interface PlaceRouting {
  intercept(): Promise<void>;
  change(): void;
}

/** The place of the transaction of one test on one connection, or of a block of tests. */
export interface TestPlace {
  /** Takes a client of the pool itself. */
  takeRealClient(): Promise<PgClient>;
  /** From now on the work of the test gets clients of this transaction. */
  serve(transaction: ServedTransaction): void;
  /** A test of a block begins, and its work waits until the place serves again. */
  begin(): void;
  /** Between two tests of a block work belongs to none, where that is watched; until it serves again. */
  rest(): void;
  leave(): void;
}

/** See {@link TestPlace}. */
export class Place implements TestPlace {
  state: 'begins' | 'serves' | 'rests' = 'begins';
  served: ServedTransaction | undefined;
  readonly #routing: PlaceRouting;
  readonly #connection: DbConnection;
  readonly #onLeave: () => void;

  constructor(routing: PlaceRouting, connection: DbConnection, onLeave: () => void) {
    this.#routing = routing;
    this.#connection = connection;
    this.#onLeave = onLeave;
  }

  async takeRealClient(): Promise<PgClient> {
    await this.#routing.intercept();
    return ask(() => this.#connection.checkOut({ holder: undefined, isBusy: true }));
  }

  serve(transaction: ServedTransaction): void {
    this.served = transaction;
    this.state = 'serves';
    this.#routing.change();
  }

  begin(): void {
    this.state = 'begins';
  }

  rest(): void {
    this.state = 'rests';
    this.#routing.change();
  }

  /** The transaction that work gets clients of now; where nobody watches, also between the tests of a block. */
  servedUnder(watch: object | undefined): ServedTransaction | undefined {
    return this.state === 'serves' || (this.state === 'rests' && watch === undefined)
      ? this.served
      : undefined;
  }

  leave(): void {
    this.#onLeave();
  }
}
