import { DbContextError } from '../errors.js';
import type { KeptRows } from './kept-rows.js';

/**
 * The rows of a failed test, or of one that called `keep()`, were committed for real rather than rolled
 * back (`keepOnFailure` of `useTestTransaction()`). Thrown at the end of that test, with the way to look at
 * them, and at the beginning of each later one, which would see them.
 *
 * @publicApi
 */
export class KeptRowsError extends DbContextError {
  constructor(
    message: string,
    /** What became of the rows, by connection. */
    readonly kept: readonly KeptRows[],
    cause?: KeptRowsError,
  ) {
    super('TEST_ROWS_KEPT', message, cause);
  }

  /** @internal The error at the end of the test. */
  static of(test: string, kept: readonly KeptRows[]): KeptRowsError {
    const isAny = kept.some(({ failure }) => failure === undefined);
    return new KeptRowsError(
      [
        `The rows of ${test} ${isAny ? 'were kept, by a real COMMIT' : 'could not be kept'}:`,
        ...kept.flatMap((each) => linesOf(each)),
        ...(isAny
          ? ['The URL has no password: psql asks for it, or takes it from PGPASSWORD or ~/.pgpass.']
          : []),
        'Later tests on this application are refused. Before the next run, delete the rows, or make ' +
          'the database anew as createWorkerDatabase() does.',
      ].join('\n'),
      kept,
    );
  }

  /**
   * @internal The error at the beginning of a later test, or of the same one that is tried again: where it is
   * all that the runner shows, it says how to look at the rows as well.
   *
   * @param first the error at the end of the test
   */
  static after(test: string, kept: readonly KeptRows[], first: KeptRowsError): KeptRowsError {
    return new KeptRowsError(
      [
        `The rows of ${test} were to be kept:`,
        ...kept.flatMap((each) => linesOf(each)),
        'This test would see them, or is that one once more, and does not run. Run the failed test alone, or ' +
          'without keepOnFailure.',
      ].join('\n'),
      kept,
      first,
    );
  }
}

function linesOf({ connectionName, url, failure, leftOut }: KeptRows): string[] {
  if (failure !== undefined) {
    return [`  ${connectionName}: nothing is kept, since the COMMIT failed: ${failure.message}`];
  }
  return [
    `  ${connectionName}: psql '${url}'`,
    ...(leftOut === undefined ? [] : [`    without what was not committed: ${leftOut.message}`]),
  ];
}
