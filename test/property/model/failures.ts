/** An error of the program that is modelled; the label is what the runner makes of the real one. */
export class ModelError extends Error {
  readonly label: string;

  constructor(label: string) {
    super(label);
    this.label = label;
  }
}

/** The promises leave open what happens here; a program that comes here is not run. */
export class Undetermined extends Error {}

export const BOOM = 'Boom';
export const ABORTED = 'TransactionAbortedError';
export const CLOSED = 'SessionClosedError';
export const REFUSED = 'InvalidTransactionStateError';
export const ORPHANED = 'ForeignKeyConstraintViolationException(23503)';
/** By SQLSTATE, the class that MikroORM makes of it. */
const SERVER_ERRORS = {
  '23505': 'UniqueConstraintViolationException(23505)',
  '22012': 'DriverException(22012)',
} as const;
export type SqlState = keyof typeof SERVER_ERRORS;

export const serverError = (state: SqlState): ModelError => new ModelError(SERVER_ERRORS[state]);
/** F4: the first failure is the cause. */
export const rolledBackBy = (cause: SqlState): ModelError =>
  new ModelError(`UnexpectedRollbackError(${cause})`);
export const unawaited = (): ModelError =>
  new ModelError('UnexpectedRollbackError(unawaited-statements)');

/** F4: a commit by hand failed, and nobody called rollback(). */
export const failedBefore = (): ModelError =>
  new ModelError('UnexpectedRollbackError(failed-before)');

/** @throws what is no error of the program itself */
export function labelOf(error: unknown): string {
  if (error instanceof ModelError) {
    return error.label;
  }
  throw error;
}

export function rethrowUndetermined(error: unknown): void {
  labelOf(error);
}
