import type { PgClient } from '../postgresql/pg-client.js';
import { endsConnection } from '../postgresql/server-errors.js';
import { TestConnectionLostError } from './errors.js';

/** The event of the connection of `pg` with each error that the server answers. */
interface ServerErrors {
  on(event: 'errorMessage', listener: (error: Error) => void): unknown;
  off(event: 'errorMessage', listener: (error: Error) => void): unknown;
}

/** Listens for errors of the real client of a shared transaction, for all clients that stand for it. */
export class RealClientErrors {
  /** Kept here, since the real client warns of more than ten. */
  readonly listeners = new Set<(error: Error) => void>();
  readonly #connectionName: string;
  readonly #client: PgClient;
  readonly #onLost: () => void;
  #lostBy: Error | undefined;

  /** @param onLost is called once, as the connection is lost */
  constructor(connectionName: string, client: PgClient, onLost: () => void) {
    this.#connectionName = connectionName;
    this.#client = client;
    this.#onLost = onLost;
    client.on('error', this.#onError);
    this.#server.on('errorMessage', this.#onMessage);
  }

  /** A new error for what follows the loss of the connection; `undefined` while it stands. */
  get lost(): TestConnectionLostError | undefined {
    return this.#lostBy && new TestConnectionLostError(this.#connectionName, this.#lostBy);
  }

  stop(): void {
    this.#client.off('error', this.#onError);
    this.#server.off('errorMessage', this.#onMessage);
  }

  get #server(): ServerErrors {
    return this.#client.connection as unknown as ServerErrors;
  }

  readonly #onMessage = (error: Error): void => {
    // It comes before the end of the socket, which does not say why.
    if (endsConnection(error)) {
      this.#lose(error);
    }
  };

  readonly #onError = (error: Error): void => {
    this.#lose(error);
    this.listeners.forEach((listener) => listener(error));
  };

  #lose(error: Error): void {
    if (this.#lostBy === undefined) {
      this.#lostBy = error;
      this.#onLost();
    }
  }
}
