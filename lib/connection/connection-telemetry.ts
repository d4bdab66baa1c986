import type { ConnectionInfo, PoolInfo } from '../telemetry/payloads.js';

/** A connection, as far as events show it. */
interface Observed {
  readonly name: string;
  readonly host: string;
  readonly database: string | undefined;
  readonly isClosed: boolean;
  poolState(): PoolInfo | undefined;
}

/** What events call a connection: an object that holds no password, for those that print what they get. */
export class ConnectionTelemetry implements ConnectionInfo {
  readonly #connection: Observed;

  constructor(connection: Observed) {
    this.#connection = connection;
  }

  /** See {@link ConnectionInfo.name}. */
  get name(): string {
    return this.#connection.name;
  }

  /** See {@link ConnectionInfo.host}. */
  get host(): string {
    return this.#connection.host;
  }

  /** See {@link ConnectionInfo.database}. */
  get database(): string | undefined {
    return this.#connection.database;
  }

  /** See {@link ConnectionInfo.pool}. */
  get pool(): PoolInfo | undefined {
    const state = this.#connection.poolState();
    // A listener that was away as the pools were closed would go on to count their sizes.
    return this.#connection.isClosed && state?.checkedOut === 0 ? undefined : state;
  }
}
