/**
 * The module, the session of a request, the ways to take over, and the errors.
 *
 * @packageDocumentation
 */
export type { PoolState } from './connection/pool-state.js';
export type {
  CheckOptions,
  ConnectionHealth,
  HealthError,
  ReplicaHealth,
} from './connection/connection-health.js';
export type { ConnectionLimits } from './connection/connection-limits.js';
export { DbConnection } from './connection/db-connection.js';
export type { DriverMikroORM } from './connection/driver-mikro-orm.js';
export type { ReplicaState } from './connection/replica.js';
export type { AtomicSettings, CurrentTransaction } from './context/atomic.js';
export { DbContext } from './context/db-context.service.js';
export type { UnitsOfWork } from './context/units-of-work.js';
export type {
  AtomicOptions,
  ConnectionChoice,
  RunAllOptions,
  RunOptions,
} from './context/run-options.js';
export type { StreamOptions, StreamSource } from './context/stream-options.js';
export type { RunAllResults } from './context/bounded.js';
export type { HookCallback } from './context/hook-calls.js';
export { DbContextModule } from './db-context.module.js';
export {
  InjectConnection,
  InjectRepository,
  InjectSession,
  type InjectDecorator,
} from './decorators/inject.decorators.js';
export {
  UseAfterCommit,
  type AfterCommitInterceptor,
} from './decorators/after-commit.decorator.js';
export {
  Atomic,
  NewDbContext,
  WithDbContext,
  type AsyncMethodDecorator,
  type HandlerDecorator,
  type HandlerOptions,
} from './decorators/context.decorators.js';
export {
  CommitOn,
  DbTransaction,
  FlushOn,
  RetryOnSerializationFailure,
  SkipDbContext,
  type DbTransactionOptions,
} from './decorators/route.decorators.js';
export {
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  ConnectionClosedError,
  ConnectionFailedError,
  BeforeSessionError,
  ContextSettingsError,
  ContextTimeoutError,
  DbContextError,
  DbContextNotActiveError,
  DecoratorNotManagedError,
  DuplicateConnectionError,
  HookTimeoutError,
  HostDrainTimeoutError,
  InvalidOptionsError,
  InvalidTransactionStateError,
  JobNotSentError,
  NoPrimaryError,
  PartialCommitError,
  PoolDeadlockError,
  ProtocolViolationError,
  ReadOnlyTransactionError,
  ReplicasUnavailableError,
  SavepointTimeoutError,
  SessionClosedError,
  ShuttingDownError,
  StreamFailedError,
  StreamRefusedError,
  StreamTimeoutError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
  UnknownConnectionError,
  UnknownEntityError,
  type ConnectionAsker,
  type DbContextErrorCode,
  type HostAnswer,
  type ReplicaRefusal,
  type EndCause,
  type EndCode,
  type EndingCall,
  type ErrorPlace,
  type RollbackReason,
  type StreamRefusalReason,
  type SettlementOutcome,
} from './errors.js';
export { commitOnSuccess } from './options/commit-on-success.js';
export type {
  ConnectionGlobalOptions,
  ConnectionResetOptions,
  ConnectionTransactionOptions,
  DbConnectionOptions,
} from './options/connection-options.js';
export type {
  CommitPolicy,
  DbContextOptions,
  FlushTime,
  OperationError,
  RequestOutcome,
} from './options/context-options.js';
export type { FailoverOptions } from './options/failover-options.js';
export type {
  DbContextModuleAsyncOptions,
  DbContextModuleOptions,
  DbContextOptionsFactory,
} from './options/module-options.js';
export type {
  ConnectionReadOptions,
  ReadFromOptions,
  ReadYourWritesOptions,
  ReplicaChoice,
} from './options/replica-options.js';
export type { RetryOptions } from './options/retry-options.js';
export type { WatchOptions } from './options/watch-options.js';
export type {
  PostgresIsolationLevel,
  SessionVariables,
  SessionVariableValue,
  TransactionSettings,
} from './postgresql/transaction-settings.js';
export type {
  ClientQuery,
  ClientResult,
  TransactionClient,
} from './postgresql/transaction-client.js';
export {
  AFTER_COMMIT_INTERCEPTOR,
  getConnectionToken,
  getRepositoryToken,
  getSessionToken,
} from './tokens.js';
export { DbContextInterceptor } from './transport/db-context.interceptor.js';
export type { DriverEntityManager } from './session/driver-entity-manager.js';
