import { DbContextError, named, within, type ErrorPlace } from './db-context-error.js';

/**
 * A transaction was open for longer than `transactionTimeoutMs` and was ended; nothing of it was
 * saved.
 *
 * @publicApi
 */
export class TransactionTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly timeoutMs: number,
    /** What had kept the code from going on, where that is known: a sentence or more, with what to do about it. */
    obstacle?: string,
  ) {
    super(
      'TRANSACTION_TIMEOUT',
      `The transaction on connection ${named(place)} was open for more than ${timeoutMs} ms and was ` +
        'rolled back, so that its connection is free again. ' +
        (obstacle ?? 'Commit or close earlier around slow work, or raise transactionTimeoutMs.'),
      undefined,
      place,
    );
  }
}

/**
 * A context was open for longer than `contextTimeoutMs` and was rolled back; code that still runs in
 * it is refused. A request is answered with 503, whose `cause` this is.
 *
 * @publicApi
 */
export class ContextTimeoutError extends DbContextError {
  constructor(
    override readonly origin: string,
    readonly timeoutMs: number,
  ) {
    super(
      'CONTEXT_TIMEOUT',
      `The context of ${origin} was open for more than ${timeoutMs} ms and was rolled back. Find what ` +
        'never returns, do slow work outside of a request, or raise contextTimeoutMs.',
    );
  }
}

/**
 * A statement waited for a nested transaction of another branch for longer than
 * `savepointTimeoutMs`.
 *
 * @publicApi
 */
export class SavepointTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly timeoutMs: number,
  ) {
    super(
      'SAVEPOINT_TIMEOUT',
      `A statement on connection ${named(place)} waited more than ${timeoutMs} ms for a nested ` +
        'transaction of a parallel branch. Nested transactions of one session run one after another; ' +
        'do not let one wait for work that is outside it.',
      undefined,
      place,
    );
  }
}

/**
 * A hook or a subscriber that a transaction waits for did not return. Before a commit that makes it
 * roll back; after one it is only logged.
 *
 * @publicApi
 */
export class HookTimeoutError extends DbContextError {
  /**
   * @param hook the name of the hook
   * @param timeoutMs how long it was waited for, in milliseconds
   * @param limit the name of the option that sets the limit; with `shutdownTimeoutMs`, which is a limit of the
   *   whole context, `timeoutMs` is less
   * @param place what it belonged to
   */
  constructor(
    readonly hook: string,
    readonly timeoutMs: number,
    readonly limit: string,
    place: Partial<ErrorPlace> = {},
  ) {
    const { connectionName } = place;
    const what = `${hook}${connectionName === undefined ? '' : ` on connection "${connectionName}"`}${within(place)}`;
    super(
      'HOOK_TIMEOUT',
      limit === 'shutdownTimeoutMs'
        ? `${what} had run for ${timeoutMs} ms as the time of the shutdown was over (${limit}), so it was not ` +
            'waited for any longer. Give what it calls a limit of its own, or raise shutdownTimeoutMs.'
        : `${what} did not return within ${timeoutMs} ms (${limit}), so it was not waited for any longer. ` +
            'Give what it calls a limit of its own, or do it outside of the transaction.',
      undefined,
      place,
    );
  }
}
