/** All errors, by what they are about. */
export {
  DbContextError,
  describe,
  named,
  within,
  type DbContextErrorCode,
  type ErrorPlace,
} from './errors/db-context-error.js';
export {
  DbContextNotActiveError,
  DecoratorNotManagedError,
  DuplicateConnectionError,
  InvalidOptionsError,
  UnknownConnectionError,
  UnknownEntityError,
} from './errors/setup-errors.js';
export type { EndCause, EndCode } from './errors/end-cause.js';
export {
  InvalidTransactionStateError,
  ReadOnlyTransactionError,
  SessionClosedError,
  type EndingCall,
} from './errors/session-errors.js';
export {
  StreamFailedError,
  StreamRefusedError,
  StreamTimeoutError,
  type StreamRefusalReason,
} from './errors/stream-errors.js';
export {
  CommitOutcomeUnknownError,
  PartialCommitError,
  ProtocolViolationError,
  TransactionAbortedError,
  UnexpectedRollbackError,
  type RollbackReason,
  type SettlementOutcome,
} from './errors/commit-errors.js';
export {
  ContextTimeoutError,
  HookTimeoutError,
  SavepointTimeoutError,
  TransactionTimeoutError,
} from './errors/time-errors.js';
export {
  BeforeSessionError,
  ContextSettingsError,
  JobNotSentError,
  ShuttingDownError,
} from './errors/context-errors.js';
export {
  AcquireTimeoutError,
  ConnectionClosedError,
  ConnectionFailedError,
  PoolDeadlockError,
  type ConnectionAsker,
} from './errors/pool-errors.js';
export {
  HostDrainTimeoutError,
  NoPrimaryError,
  ReplicasUnavailableError,
  type HostAnswer,
  type ReplicaRefusal,
} from './errors/host-errors.js';
