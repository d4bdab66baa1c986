// What a `catch` can learn from an error, and what it may not do to it; nothing here runs.
import type { DriverException } from '@mikro-orm/core';
import { expectTypeOf } from 'expect-type';
import {
  DbContextError,
  NoPrimaryError,
  PartialCommitError,
  UnexpectedRollbackError,
  UnknownConnectionError,
  type DbContextErrorCode,
  type DbContextNotActiveError,
  type DecoratorNotManagedError,
  type HostAnswer,
  type InvalidOptionsError,
  type RollbackReason,
  type SessionClosedError,
  type SettlementOutcome,
  type ShuttingDownError,
} from 'nestjs-db-context';

export function haveInCommon(error: DbContextError): void {
  expectTypeOf<DbContextError>().toExtend<DriverException>();
  expectTypeOf<'SESSION_CLOSED'>().toExtend<DbContextErrorCode>();
  expectTypeOf<'SESION_CLOSED'>().not.toExtend<DbContextErrorCode>();
  // @ts-expect-error -- the code of an error cannot be changed
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
  if (error instanceof NoPrimaryError) {
    expectTypeOf(error.answers).toEqualTypeOf<readonly HostAnswer[]>();
  }
  if (error instanceof UnexpectedRollbackError) {
    expectTypeOf(error.reason).toEqualTypeOf<RollbackReason>();
  }
  if (error instanceof PartialCommitError) {
    expectTypeOf(error.outcomes).toEqualTypeOf<readonly SettlementOutcome[]>();
  }
}

export function nameTheConnection(error: SessionClosedError): void {
  // @ts-expect-error -- a fact
  error.connectionName = 'other';
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
