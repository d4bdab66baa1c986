import type { EventOrigin } from './operation-events.js';
import type { ConnectionInfo, ConnectionUse, ContextInfo, TransactionInfo } from './payloads.js';
import { TimedEvent } from './timed-event.js';

/**
 * The wait for a connection: all events of it are this object. Its `error` says why none came:
 * `ACQUIRE_TIMEOUT`, `POOL_DEADLOCK`, `CONNECTION_FAILED`.
 *
 * @publicApi
 */
export class AcquireEvent extends TimedEvent implements EventOrigin {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly transaction: TransactionInfo | undefined;
  readonly use: ConnectionUse | undefined;

  /** @internal */
  constructor({ connection, context, transaction, use }: EventOrigin) {
    super();
    this.connection = connection;
    this.context = context;
    this.transaction = transaction;
    this.use = use;
  }
}

/**
 * The client of a transaction is lent to a callback of `withClient()`: all events of it are this object. Its
 * `error` is what the callback has thrown, or why the transaction was over before it had returned.
 *
 * @publicApi
 */
export class LendEvent extends AcquireEvent {}
