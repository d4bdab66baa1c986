import { DbContextError, describe, named, type ErrorPlace } from './db-context-error.js';

/**
 * The pool had no free connection within `acquireTimeoutMs`, or the server did not open one in that time.
 *
 * @publicApi
 */
export class AcquireTimeoutError extends DbContextError {
  declare readonly connectionName: string;

  /**
   * @param pool its counters; `checkedOut` includes those that are `connecting`, of which one was to be that of the
   *   caller where that `isConnecting`
   */
  constructor(
    place: string | ErrorPlace,
    readonly timeoutMs: number,
    pool: {
      size: number;
      checkedOut: number;
      waiting: number;
      connecting?: number;
      isConnecting?: boolean;
    },
  ) {
    const { size, waiting, connecting = 0, isConnecting = false } = pool;
    const inUse = pool.checkedOut - connecting;
    const unopened = connecting === 0 ? '' : `${connecting} not yet opened, `;
    const counts = `pool of ${size}, ${inUse} checked out, ${unopened}${waiting} waiting`;
    super(
      'ACQUIRE_TIMEOUT',
      isConnecting
        ? `The server of ${named(place)} did not open a connection within ${timeoutMs} ms (${counts}). ` +
            'Look whether it can be reached and answers a login, or raise acquireTimeoutMs.'
        : `No connection of ${named(place)} became free within ${timeoutMs} ms (${counts}). ` +
            adviceFor(inUse, connecting, size),
      undefined,
      place,
    );
  }
}

/** A larger pool is no help against a server that lets nobody in. */
function adviceFor(inUse: number, connecting: number, size: number): string {
  const look = 'look whether it can be reached and answers a login';
  if (inUse === 0) {
    return `The server has opened none of them; ${look}.`;
  }
  return connecting === 0
    ? 'Enlarge pool.max, shorten transactions, or raise acquireTimeoutMs.'
    : `The server has not opened ${connecting} of the ${size}; ${look}, before you enlarge pool.max, ` +
        'shorten transactions, or raise acquireTimeoutMs.';
}

/**
 * All connections of a pool are held by contexts that wait, themselves or in a context inside of
 * them, for one more of this pool, or of a pool whose connections are held by contexts that wait for
 * this one: none of them could ever go on. One is refused, so that the others can.
 *
 * @publicApi
 */
export class PoolDeadlockError extends DbContextError {
  constructor(
    readonly connectionName: string,
    pool: { size: number; waiting: number },
    asker: ConnectionAsker = { isPast: false },
  ) {
    super(
      'POOL_DEADLOCK',
      `Every connection of "${connectionName}" (pool of ${pool.size}, ${pool.waiting} waiting) is held by a ` +
        'context that waits for one more, of this pool or of another one, so this one was refused' +
        `${forAsker(asker)}. Free the connection that is held (dbContext.commit() or close()) before work in ` +
        'a new context or session begins, use several connections in the same order everywhere, or enlarge ' +
        'pool.max.',
      undefined,
      { origin: asker.origin },
    );
  }
}

/** Who has asked for a connection, see {@link PoolDeadlockError}. */
export interface ConnectionAsker {
  /** The origin of its context. */
  readonly origin?: string | undefined;
  /** Whether it was asked for past the session of that context. */
  readonly isPast: boolean;
}

function forAsker({ origin, isPast }: ConnectionAsker): string {
  const who = origin === undefined ? '' : `. It was asked for in the context of ${origin}`;
  return isPast
    ? `${who}, past its session (a fork of the entity manager, @CreateRequestContext(), ` +
        'em.getConnection()), and takes a connection beside the one that the session holds: use the ' +
        'session instead'
    : who;
}

/**
 * The server could not be reached, or refused the connection. `cause` is the driver's error.
 *
 * @publicApi
 */
export class ConnectionFailedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(place: string | ErrorPlace, cause: unknown) {
    super(
      'CONNECTION_FAILED',
      `Could not connect to the database of connection ${named(place)}: ${describe(cause)}. ` +
        `${isOfMissingDatabase(cause) ? HOW_TO_CREATE : ''}The next request tries again; no restart is ` +
        'needed.',
      cause,
      place,
    );
  }
}

const HOW_TO_CREATE =
  'Create it, or set ensureDatabase: true among the options of the connection, with which MikroORM creates ' +
  'it before the first statement. ';

/** By the SQLSTATE of the server, `invalid_catalog_name`. */
function isOfMissingDatabase(cause: unknown): boolean {
  return (cause as { readonly code?: unknown } | null | undefined)?.code === '3D000';
}

/**
 * A connection that `close()` had closed was used: by a session, by `connect()` or `changeHost()`, or through
 * `orm` itself; or a transaction or a wait for a client went on for longer than `drainTimeoutMs` after it.
 * Nothing of that transaction was saved.
 *
 * @publicApi
 */
export class ConnectionClosedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    /** How long what was cut off had gone on after the closing began, in milliseconds. */
    readonly cutOffAfterMs?: number,
  ) {
    super(
      'CONNECTION_CLOSED',
      `The connection ${named(place)} is closed, by close() or because the application shuts down; ` +
        (cutOffAfterMs === undefined
          ? 'no connection to its server is opened any more. End what uses it before that, or look at ' +
            'isClosed.'
          : `this was still using it ${cutOffAfterMs} ms later, and was cut off. End such work before ` +
            'the application closes, or raise drainTimeoutMs.'),
      undefined,
      place,
    );
  }
}
