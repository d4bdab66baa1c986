import { placeOf, type Claim, type Holder, type Placed } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import type { Lease } from '../connection/lease.js';
import type { ErrorPlace } from '../errors.js';
import type { EventSource } from '../telemetry/operation-events.js';
import { UseTelemetry } from '../telemetry/use-telemetry.js';

/** The claim of one statement in no transaction, and what events say that it is part of. */
export class AutocommitClaim implements Claim, EventSource, Placed {
  readonly isBusy = true;
  readonly holder: Holder | undefined;
  readonly whenOver: NonNullable<Claim['whenOver']>;
  readonly #connection: DbConnection;
  #lease: Lease | undefined;
  #telemetry: UseTelemetry | undefined;

  /** @param whenOver see {@link Claim.whenOver} */
  constructor(
    connection: DbConnection,
    holder: Holder | undefined,
    whenOver: NonNullable<Claim['whenOver']>,
  ) {
    this.#connection = connection;
    this.holder = holder;
    this.whenOver = whenOver;
  }

  /** See {@link Claim.source}. */
  get source(): this {
    return this;
  }

  /** See {@link EventSource.telemetry}; made where somebody listens. */
  get telemetry(): UseTelemetry {
    return (this.#telemetry ??= new UseTelemetry(
      { kind: 'autocommit' },
      { connection: this.#connection.telemetry, context: this.holder?.telemetry },
    ));
  }

  /** See {@link Placed.place}. */
  get place(): ErrorPlace {
    return placeOf(this.#connection.name, this.holder);
  }

  /** It has got a connection. */
  got(lease: Lease): void {
    this.#lease = lease;
    this.#telemetry?.servedBy(lease.client);
  }

  /** See {@link Claim.kill}. */
  kill(): void {
    void this.#lease?.destroy();
  }
}
