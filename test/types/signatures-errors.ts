// The fields of every error, and what they have in common; nothing here runs.
import { DriverException } from '@mikro-orm/core';
import { expectTypeOf } from 'expect-type';
import {
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
} from 'nestjs-db-context';

const ALL = [
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  ConnectionClosedError,
  ConnectionFailedError,
  ContextSettingsError,
  ContextTimeoutError,
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
];

type AnyError = InstanceType<(typeof ALL)[number]>;

export function haveInCommon(error: AnyError): void {
  expectTypeOf(error).toExtend<DbContextError>();
  expectTypeOf<DbContextError>().toExtend<DriverException>();
  expectTypeOf<DbContextError>().toExtend<Error>();
  expectTypeOf<DbContextError['code']>().toEqualTypeOf<DbContextErrorCode>();
  expectTypeOf<'SESSION_CLOSED'>().toExtend<DbContextErrorCode>();
  expectTypeOf<'SESION_CLOSED'>().not.toExtend<DbContextErrorCode>();
  expectTypeOf<DbContextError['cause']>().toBeUnknown();
  // @ts-expect-error -- what tells the cases apart cannot be changed
  error.code = 'OTHER';
  // @ts-expect-error -- a base, nobody's error by itself
  void new DbContextError('CODE', 'message');
}

/** A `catch` has `unknown`; `instanceof` must lead to the fields. */
export function areNarrowed(error: unknown): void {
  if (error instanceof DbContextError) {
    expectTypeOf(error.code).toEqualTypeOf<DbContextErrorCode>();
  }
  if (error instanceof UnknownConnectionError) {
    expectTypeOf(error.knownNames).toEqualTypeOf<readonly string[]>();
  }
  if (error instanceof UnknownEntityError) {
    expectTypeOf(error.entityName).toEqualTypeOf<string>();
  }
  if (error instanceof HostDrainTimeoutError) {
    expectTypeOf(error.host).toEqualTypeOf<string>();
  }
  if (error instanceof NoPrimaryError) {
    expectTypeOf(error.answers).toEqualTypeOf<readonly HostAnswer[]>();
    expectTypeOf<HostAnswer>().toEqualTypeOf<{
      readonly host: string;
      readonly role: 'primary' | 'standby' | 'unknown';
      readonly timeline?: string;
      readonly error?: Error;
    }>();
  }
  if (error instanceof ReadOnlyTransactionError) {
    expectTypeOf(error.entityNames).toEqualTypeOf<readonly string[]>();
  }
  if (error instanceof ReplicasUnavailableError) {
    expectTypeOf(error.replicas).toEqualTypeOf<readonly ReplicaRefusal[]>();
    expectTypeOf<ReplicaRefusal>().toEqualTypeOf<{
      readonly host: string;
      readonly error: unknown;
    }>();
  }
  if (error instanceof UnexpectedRollbackError) {
    expectTypeOf(error.reason).toEqualTypeOf<RollbackReason>();
  }
  if (error instanceof PartialCommitError) {
    expectTypeOf(error.outcomes).toEqualTypeOf<readonly SettlementOutcome[]>();
  }
}

export function nameTheConnection(
  error:
    | AcquireTimeoutError
    | CommitOutcomeUnknownError
    | ConnectionClosedError
    | ConnectionFailedError
    | ContextSettingsError
    | DuplicateConnectionError
    | HostDrainTimeoutError
    | InvalidTransactionStateError
    | NoPrimaryError
    | PoolDeadlockError
    | ReadOnlyTransactionError
    | ReplicasUnavailableError
    | SavepointTimeoutError
    | SessionClosedError
    | TransactionAbortedError
    | TransactionTimeoutError
    | UnexpectedRollbackError
    | UnknownConnectionError
    | UnknownEntityError,
): void {
  expectTypeOf(error.connectionName).toEqualTypeOf<string>();
  // @ts-expect-error -- a fact
  error.connectionName = 'other';
}

export function nameTheLimit(
  error:
    | AcquireTimeoutError
    | ContextTimeoutError
    | HookTimeoutError
    | HostDrainTimeoutError
    | SavepointTimeoutError
    | TransactionTimeoutError,
): void {
  expectTypeOf(error.timeoutMs).toEqualTypeOf<number>();
}

export function nameNoConnection(
  error:
    | DbContextNotActiveError
    | DecoratorNotManagedError
    | InvalidOptionsError
    | ShuttingDownError,
): void {
  // @ts-expect-error -- none is known, or none is to blame
  void error.connectionName;
}

export function outcomes(): void {
  expectTypeOf<SettlementOutcome>().toEqualTypeOf<{
    readonly connectionName: string;
    readonly outcome: 'committed' | 'rolled-back' | 'unknown' | 'untouched';
  }>();
  expectTypeOf<RollbackReason>().toEqualTypeOf<
    | 'failed-statement'
    | 'unawaited-statements'
    | 'connection-lost'
    | 'server-rollback'
    | 'failed-before'
    | 'ended-meanwhile'
    | 'context-ended'
  >();
}
