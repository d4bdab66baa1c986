import * as channels from './channels.js';
import type {
  ConnectionEvent,
  ContextEndEvent,
  ContextEvent,
  FailoverEvent,
  HookEvent,
  HostChangeEvent,
  HostDrainEvent,
  PoolEvent,
  PoolReleaseEvent,
  ReplicaEvent,
  ReplicaWaitEvent,
  RetryEvent,
  SavepointEndEvent,
  SavepointEvent,
  TransactionEndEvent,
  TransactionEvent,
} from './payloads.js';
import type { FindingEvent } from './finding-event.js';
import type { FlushEvent, ForkEvent, RefusalEvent } from './session-events.js';
import type { AcquireEvent, LendEvent } from './connection-events.js';
import type { StatementEvent, StatementRequest } from './operation-events.js';
import type { EventChannel, OperationChannels } from './typed-channel.js';

/**
 * The channels of this library.
 *
 * @publicApi
 */
export interface DbContextChannels {
  /** `nestjs-db-context:context:open` */
  readonly contextOpen: EventChannel<ContextEvent>;
  /** `nestjs-db-context:context:end` */
  readonly contextEnd: EventChannel<ContextEndEvent>;
  /** `nestjs-db-context:transaction:start`: its first statement was asked for. */
  readonly transactionStart: EventChannel<TransactionEvent>;
  /** `nestjs-db-context:transaction:begin`: the server has begun it. */
  readonly transactionBegin: EventChannel<TransactionEvent>;
  /** `nestjs-db-context:transaction:end` */
  readonly transactionEnd: EventChannel<TransactionEndEvent>;
  /** `nestjs-db-context:statement:request`: a statement was asked for; published in the code that asks. */
  readonly statementRequest: EventChannel<StatementRequest>;
  /** `nestjs-db-context:session:refuse`: a session was used after its end. */
  readonly sessionRefuse: EventChannel<RefusalEvent>;
  /** `nestjs-db-context:session:fork`: `em.fork()`, for work of its own. */
  readonly sessionFork: EventChannel<ForkEvent>;
  /** `nestjs-db-context:savepoint:set` */
  readonly savepointSet: EventChannel<SavepointEvent>;
  /** `nestjs-db-context:savepoint:end` */
  readonly savepointEnd: EventChannel<SavepointEndEvent>;
  /** `nestjs-db-context:hook:end` */
  readonly hookEnd: EventChannel<HookEvent>;
  /** `nestjs-db-context:retry`: what failed is to be run again. */
  readonly retry: EventChannel<RetryEvent>;
  /** `nestjs-db-context:pool:wait`: no client is free, so that the claim waits in the queue of the pool. */
  readonly poolWait: EventChannel<PoolEvent>;
  /** `nestjs-db-context:pool:release`: a client is not in use any more. */
  readonly poolRelease: EventChannel<PoolReleaseEvent>;
  /** `nestjs-db-context:connection:close`: its pools are closed, and it is of no use any more. */
  readonly connectionClose: EventChannel<ConnectionEvent>;
  /** `nestjs-db-context:host:change` */
  readonly hostChange: EventChannel<HostChangeEvent>;
  /** `nestjs-db-context:host:drain`: the pool of a former host is closed. */
  readonly hostDrain: EventChannel<HostDrainEvent>;
  /** `nestjs-db-context:failover`: a search for the primary is over. */
  readonly failover: EventChannel<FailoverEvent>;
  /** `nestjs-db-context:replica:leave`: a replica could not be reached. */
  readonly replicaLeave: EventChannel<ReplicaEvent>;
  /** `nestjs-db-context:replica:return` */
  readonly replicaReturn: EventChannel<ReplicaEvent>;
  /** `nestjs-db-context:replica:wait`: a read has waited for a replica to have its client's last write. */
  readonly replicaWait: EventChannel<ReplicaWaitEvent>;
  /** `nestjs-db-context:finding`: the option `watch` has found something. */
  readonly finding: EventChannel<FindingEvent>;
  /** `tracing:nestjs-db-context:acquire:*`: a connection is taken. */
  readonly acquire: OperationChannels<AcquireEvent>;
  /** `tracing:nestjs-db-context:lend:*`: the client of a transaction is lent to a callback of `withClient()`. */
  readonly lend: OperationChannels<LendEvent>;
  /** `tracing:nestjs-db-context:flush:*`: a flush of a session. */
  readonly flush: OperationChannels<FlushEvent>;
  /** `tracing:nestjs-db-context:statement:*`: one message to the server. */
  readonly statement: OperationChannels<StatementEvent>;
}

/**
 * The channels of this library, with the types of their events.
 *
 * @example
 * ```ts
 * dbContextChannels.transactionEnd.subscribe(({ transaction, outcome, durationMs }) => {
 *   console.log(transaction.connection.name, outcome, durationMs);
 * });
 * ```
 * @publicApi
 */
export const dbContextChannels: DbContextChannels = channels;
