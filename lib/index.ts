export type { PoolState } from './connection/checkout.js';
export type {
  CheckOptions,
  ConnectionHealth,
  HealthError,
  ReplicaHealth,
} from './connection/connection-health.js';
export { DbConnection } from './connection/db-connection.js';
export type { ReplicaState } from './connection/replica.js';
export type { AtomicSettings, CurrentTransaction } from './context/atomic.js';
export {
  DbContext,
  type AtomicOptions,
  type ConnectionChoice,
  type RunAllOptions,
  type RunOptions,
} from './context/db-context.service.js';
export type { RunAllResults } from './context/bounded.js';
export type { HookCallback } from './context/hooks.js';
export type { RetryOptions } from './context/retry.js';
export { DbContextModule } from './db-context.module.js';
export type {
  DbContextModuleAsyncOptions,
  DbContextModuleOptions,
  DbContextOptionsFactory,
} from './db-context.module-options.js';
export type {
  CommitPolicy,
  ConnectionLimits,
  ConnectionTransactionOptions,
  DbConnectionOptions,
  DbContextOptions,
  FailoverOptions,
  RequestOutcome,
  WatchOptions,
} from './db-context.options.js';
export { getConnectionToken, getRepositoryToken, getSessionToken } from './db-context.tokens.js';
export {
  InjectConnection,
  InjectRepository,
  InjectSession,
  type InjectDecorator,
} from './decorators/inject.decorators.js';
export {
  Atomic,
  NewDbContext,
  WithDbContext,
  type AsyncMethodDecorator,
} from './decorators/context.decorators.js';
export {
  CommitOn,
  DbTransaction,
  RetryOnSerializationFailure,
  SkipDbContext,
  type DbTransactionOptions,
} from './decorators/route.decorators.js';
export {
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  ConnectionClosedError,
  ConnectionFailedError,
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
  NoPrimaryError,
  PartialCommitError,
  PoolDeadlockError,
  ReadOnlyTransactionError,
  ReplicasUnavailableError,
  SavepointTimeoutError,
  SessionClosedError,
  ShuttingDownError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
  UnknownConnectionError,
  UnknownEntityError,
  type DbContextErrorCode,
  type HostAnswer,
  type ReplicaRefusal,
  type RollbackReason,
  type SettlementOutcome,
} from './errors.js';
export type {
  ConnectionReadOptions,
  ReadFromOptions,
  ReadYourWritesOptions,
  ReplicaChoice,
} from './replica.options.js';
export type {
  PostgresIsolationLevel,
  SessionVariables,
  SessionVariableValue,
  TransactionSettings,
} from './postgresql/transaction-settings.js';
export { commitOnSuccess } from './transport/commit-policy.js';
export { DbContextInterceptor } from './transport/db-context.interceptor.js';
