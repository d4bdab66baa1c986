/**
 * What the library publishes on `node:diagnostics_channel`, see docs/telemetry.md. The channels are the
 * same objects for all applications of a process.
 *
 * @packageDocumentation
 */
export { dbContextChannels, type DbContextChannels } from './db-context-channels.js';
export type { EventChannel, EventStore, OperationChannels } from './typed-channel.js';
export type { EndCode } from '../errors.js';
export type { Outcome } from '../outcome.js';
export type { ErrorInfo } from './error-info.js';
export type { FindingEvent, FindingKind } from './finding-event.js';
export {
  UNMASKED,
  type EventOrigin,
  type StatementEvent,
  type StatementKind,
  type StatementRequest,
  type UnmaskedStatement,
} from './operation-events.js';
export type { AcquireEvent, ConnectionOperationEvent, LendEvent } from './connection-events.js';
export type { FlushEvent, ForkEvent, RefusalEvent } from './session-events.js';
export type { TimedEvent } from './timed-event.js';
export type {
  ConnectionEvent,
  ConnectionInfo,
  ConnectionUse,
  ContextEndEvent,
  ContextEvent,
  ContextInfo,
  EndedBy,
  FailoverEvent,
  HookEvent,
  HostChangeEvent,
  HostDrainEvent,
  PoolEvent,
  PoolInfo,
  PoolReleaseEvent,
  ReplicaEvent,
  ReplicaWaitEvent,
  RetryEvent,
  SavepointEndEvent,
  SavepointEvent,
  TransactionEndEvent,
  TransactionEvent,
  TransactionInfo,
} from './payloads.js';
