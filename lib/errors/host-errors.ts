import { DbContextError, describe, named, type ErrorPlace } from './db-context-error.js';
import { ConnectionFailedError } from './pool-errors.js';

/** The answer of one host of the option `failover`, see {@link NoPrimaryError}. */
export interface HostAnswer {
  /** Host and port. */
  readonly host: string;
  /** `unknown`: it gave no answer, and `error` says why. */
  readonly role: 'primary' | 'standby' | 'unknown';
  /** The timeline of a primary, eight hexadecimal digits; each promotion begins a higher one. */
  readonly timeline?: string;
  /** Why the host cannot be used. */
  readonly error?: Error;
}

/** Why a replica could not be used, see {@link ReplicasUnavailableError}. */
export interface ReplicaRefusal {
  /** Host and port, `db2:5432`. */
  readonly host: string;
  /** Why it could not be reached. */
  readonly error: unknown;
}

/**
 * No replica could be reached for a read-only transaction, and `readFrom: { fallback: 'error' }` keeps
 * the primary from serving it. `cause` is the error of the first replica.
 *
 * @publicApi
 */
export class ReplicasUnavailableError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly replicas: readonly ReplicaRefusal[],
  ) {
    const each = replicas.map(({ host, error }) => `${host}: ${describe(innermost(error))}`);
    super(
      'REPLICAS_UNAVAILABLE',
      `No replica of connection ${named(place)} could be reached (${each.join('; ')}). The next ` +
        "request tries again; with readFrom: { fallback: 'primary' } the primary serves meanwhile.",
      replicas[0]?.error,
      place,
    );
  }
}

/** The driver's error, where a {@link ConnectionFailedError} wraps it. */
function innermost(error: unknown): unknown {
  return error instanceof ConnectionFailedError ? error.cause : error;
}

/**
 * None of the hosts of the option `failover` is a primary just now. No connection was taken, and
 * nothing was sent.
 *
 * @publicApi
 */
export class NoPrimaryError extends DbContextError {
  declare readonly connectionName: string;
  /** What each host answered, in the order of the option. */
  readonly answers: readonly HostAnswer[];

  constructor(connectionName: string, answers: readonly HostAnswer[]);
  /** @internal The search is shared, and each unit of work that waited for it gets an error of its own. */
  constructor(place: ErrorPlace, answers: readonly HostAnswer[]);
  constructor(place: string | ErrorPlace, answers: readonly HostAnswer[]) {
    const list = answers.map(
      ({ host, role, error }) => `${host}: ${error === undefined ? role : describe(error)}`,
    );
    super(
      'NO_PRIMARY',
      `No host of connection ${named(place)} is a primary (${list.join('; ')}). ${adviceFor(answers)}; ` +
        'the next request looks again, no restart is needed.',
      answers.find(({ error }) => error !== undefined)?.error,
      place,
    );
    this.answers = answers;
  }
}

/** A standby can only be promoted where one has answered. */
function adviceFor(answers: readonly HostAnswer[]): string {
  return answers.some(({ role }) => role === 'standby')
    ? 'Promote a standby'
    : 'Look why none of them can be reached, or lets this user in';
}

/**
 * The connection went to another host, and a transaction on the old one did not end within
 * `hostDrainTimeoutMs` (within `drainTimeoutMs` once the connection is closed). Nothing of it was
 * saved.
 *
 * @publicApi
 */
export class HostDrainTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    /** The old host. */
    readonly host: string,
    readonly timeoutMs: number,
  ) {
    super(
      'HOST_DRAIN_TIMEOUT',
      `The transaction on connection ${named(place)} was still open on ${host} ${timeoutMs} ms after ` +
        'the connection had changed to another host, and was ended; nothing of it was saved. Do the ' +
        'work again, shorten transactions, or raise hostDrainTimeoutMs.',
      undefined,
      place,
    );
  }
}
