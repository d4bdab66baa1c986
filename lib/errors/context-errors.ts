import { DbContextError, describe, named, type ErrorPlace } from './db-context-error.js';
import { HookTimeoutError } from './time-errors.js';

/**
 * The application is shutting down: it refuses requests, which another instance may answer, opens no
 * context once all its consumers are closed, and has rolled back what ran for longer than
 * `shutdownTimeoutMs`. A request is answered with 503, whose `cause` this is.
 *
 * @publicApi
 */
export class ShuttingDownError extends DbContextError {
  /**
   * @param cutOff the origin of a context that was rolled back; if omitted, a new context was refused
   * @param refused the origin of the context that was refused
   */
  constructor(
    readonly cutOff?: string,
    readonly refused?: string,
  ) {
    super(
      'SHUTTING_DOWN',
      cutOff === undefined
        ? `The application is shutting down; no new database context is opened${forOrigin(refused)}. ` +
            'Retry on another instance.'
        : `The application is shutting down. The context of ${cutOff} took too long, and was rolled back. ` +
            'Retry on another instance, or raise shutdownTimeoutMs.',
    );
  }
}

function forOrigin(origin: string | undefined): string {
  return origin === undefined ? '' : ` for ${origin}`;
}

/**
 * A connection's `sessionVariables()` or `role()` threw, so its transaction did not begin. `cause` is
 * what was thrown.
 *
 * @publicApi
 */
export class ContextSettingsError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown) {
    super(
      'CONTEXT_SETTINGS_FAILED',
      `The variables or the role of row-level security for connection ${named(place)} could not be ` +
        `computed: ${describe(cause)}. The transaction did not begin, and nothing was sent.`,
      cause,
      place,
    );
  }
}

/**
 * A connection's `beforeSession()` threw, so the transaction that it was called for did not begin. `cause` is what
 * was thrown.
 *
 * @publicApi
 */
export class BeforeSessionError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown) {
    super(
      'BEFORE_SESSION_FAILED',
      `beforeSession() of connection ${named(place)} failed: ${describe(cause)}. The transaction did not begin, ` +
        'and no connection was taken. The next one calls it anew.',
      cause,
      place,
    );
  }
}

/**
 * A job of a {@link CommittedQueue} was not sent after the commit that it had waited for, or not in time. The
 * work that it belongs to is saved, and its caller has been given a success; so this error is only in the
 * log. `cause` is the error of the queue.
 *
 * @publicApi
 */
export class JobNotSentError extends DbContextError {
  /**
   * Whether Redis has not answered in time. BullMQ then goes on trying for as long as the process lives, so
   * that the jobs may be in the queue by now; otherwise it has refused them.
   */
  readonly isLate: boolean;

  /**
   * @param queueName the name of the queue
   * @param jobNames the names of the jobs that were to be sent together
   * @param jobIds their ids, in the same order; `undefined` with `deduplication`
   * @param origin what was committed: `OrdersController.create`
   */
  constructor(
    readonly queueName: string,
    readonly jobNames: readonly string[],
    readonly jobIds: readonly (string | undefined)[],
    override readonly origin: string,
    cause: unknown,
  ) {
    const isLate = cause instanceof HookTimeoutError;
    const jobs = jobNames.map((name, index) => {
      const id = jobIds[index];
      return id === undefined ? name : `${name} (id ${id})`;
    });
    const start = `${jobs.join(', ')} for the queue "${queueName}" could not be sent after the commit of ${origin}`;
    super(
      'JOB_NOT_SENT',
      isLate
        ? `${start} within ${cause.timeoutMs} ms (${cause.limit}). The work is saved, and BullMQ goes on ` +
            'trying for as long as this process lives: look whether the queue has the job before you send ' +
            `it again. ${OUTBOX_ADVICE}`
        : `${start}: ${describe(cause).replace(/\.$/, '')}. The work is saved, and the job is lost: send it ` +
            `again with the same id, which the queue takes only once. ${OUTBOX_ADVICE}`,
      cause,
    );
    this.isLate = isLate;
  }
}

const OUTBOX_ADVICE =
  'A job that must not be lost belongs into the same database as the work (an outbox, docs/jobs.md).';
