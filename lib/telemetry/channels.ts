import type { FindingEvent } from './finding-event.js';
import type { FlushEvent, ForkEvent, RefusalEvent } from './session-events.js';
import type { AcquireEvent, LendEvent } from './connection-events.js';
import type { StatementEvent, StatementRequest } from './operation-events.js';
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
import { eventChannel, Operation } from './typed-channel.js';

// O1: each place that publishes asks first whether anybody listens, and makes nothing where nobody does.
export const contextOpen = eventChannel<ContextEvent>('context:open');
export const contextEnd = eventChannel<ContextEndEvent>('context:end');
export const transactionStart = eventChannel<TransactionEvent>('transaction:start');
export const transactionBegin = eventChannel<TransactionEvent>('transaction:begin');
export const transactionEnd = eventChannel<TransactionEndEvent>('transaction:end');
export const statementRequest = eventChannel<StatementRequest>('statement:request');
export const sessionRefuse = eventChannel<RefusalEvent>('session:refuse');
export const sessionFork = eventChannel<ForkEvent>('session:fork');
export const savepointSet = eventChannel<SavepointEvent>('savepoint:set');
export const savepointEnd = eventChannel<SavepointEndEvent>('savepoint:end');
export const hookEnd = eventChannel<HookEvent>('hook:end');
export const retry = eventChannel<RetryEvent>('retry');
export const poolWait = eventChannel<PoolEvent>('pool:wait');
export const poolRelease = eventChannel<PoolReleaseEvent>('pool:release');
export const connectionClose = eventChannel<ConnectionEvent>('connection:close');
export const hostChange = eventChannel<HostChangeEvent>('host:change');
export const hostDrain = eventChannel<HostDrainEvent>('host:drain');
export const failover = eventChannel<FailoverEvent>('failover');
export const replicaLeave = eventChannel<ReplicaEvent>('replica:leave');
export const replicaReturn = eventChannel<ReplicaEvent>('replica:return');
export const replicaWait = eventChannel<ReplicaWaitEvent>('replica:wait');
export const finding = eventChannel<FindingEvent>('finding');
export const acquire = new Operation<AcquireEvent>('acquire');
export const lend = new Operation<LendEvent>('lend');
export const flush = new Operation<FlushEvent>('flush');
export const statement = new Operation<StatementEvent>('statement');
