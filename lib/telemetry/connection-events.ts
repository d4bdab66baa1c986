import { SessionClosedError, type EndCause } from '../errors.js';
import { endedByOf } from './ended-by.js';
import type { EventOrigin } from './operation-events.js';
import type {
  ConnectionInfo,
  ConnectionUse,
  ContextInfo,
  EndedBy,
  TransactionInfo,
} from './payloads.js';
import { TimedEvent } from './timed-event.js';

/** What may be ended while it waits. */
interface Endable {
  readonly endCause?: EndCause | undefined;
}

/**
 * What takes time on a connection: all events of it are one object.
 *
 * @publicApi
 */
export abstract class ConnectionOperationEvent extends TimedEvent implements EventOrigin {
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
 * The wait for a connection: all events of it are this object. Its `error` says why none came:
 * `ACQUIRE_TIMEOUT`, `POOL_DEADLOCK`, `CONNECTION_FAILED`.
 *
 * @publicApi
 */
export class AcquireEvent extends ConnectionOperationEvent {
  readonly #unit: Endable | undefined;
  #endedBy: EndedBy | undefined;

  /** @internal */
  constructor(origin: EventOrigin, unit: Endable | undefined) {
    super(origin);
    this.#unit = unit;
  }

  /**
   * What has ended its unit of work, where that has cut it off. Its `error` is then the error of that, where it
   * is one, and `SESSION_CLOSED` otherwise (`CLIENT_GONE`).
   */
  get endedBy(): EndedBy | undefined {
    return this.#endedBy;
  }

  /** @internal */
  override failed(error: unknown): void {
    const cause = error instanceof SessionClosedError ? this.#unit?.endCause : undefined;
    this.#endedBy = cause && endedByOf(cause);
    super.failed(cause?.error ?? error);
  }
}

/**
 * The client of a transaction is lent to a callback of `withClient()`: all events of it are this object. Its
 * `error` is what the callback has thrown, or why the transaction was over before it had returned.
 *
 * @publicApi
 */
export class LendEvent extends ConnectionOperationEvent {}
