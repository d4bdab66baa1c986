/**
 * What the errors of the server mean, by their SQLSTATE. See
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */

/** `admin_shutdown` to `idle_session_timeout`, and the timeouts that end a connection in a transaction. */
const ENDS_CONNECTION = /^(57P0[1-5]|25P0[34])$/;

/** A statement wanted to write in a transaction that is read-only. */
const READ_ONLY_SQL_TRANSACTION = '25006';

/** A statement other than COMMIT or ROLLBACK was sent in a transaction that has failed. */
const IN_FAILED_SQL_TRANSACTION = '25P02';

/**
 * Whether the server itself refused the statement. Anything else (a cut link, a timeout on the
 * client) leaves the connection in an unknown state. The value of `severity` does not help: the
 * server translates it.
 */
export function isServerError(error: unknown): boolean {
  const { severity, code } = (error ?? {}) as { severity?: unknown; code?: unknown };
  return typeof severity === 'string' && typeof code === 'string';
}

/** Whether the server has said with this error that it closes the connection. */
export function endsConnection(error: unknown): boolean {
  return ENDS_CONNECTION.test(String(sqlStateOf(error)));
}

/** The SQLSTATE of a server's error. */
export function sqlStateOf(error: unknown): unknown {
  return (error as { readonly code?: unknown } | null)?.code;
}

/** Whether a read turned out to write, as a read of a view can that calls a function. */
export function hasTriedToWrite(error: unknown): boolean {
  return sqlStateOf(error) === READ_ONLY_SQL_TRANSACTION;
}

/** The server closes a connection on which a transaction waits for its next statement for too long. */
const IDLE_IN_TRANSACTION_SESSION_TIMEOUT = '25P03';

/** Whether the server has closed the connection before the statement reached it. */
export function isIdleTimeout(error: unknown): boolean {
  return sqlStateOf(error) === IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
}

/** Whether the server refused the statement because its transaction had failed before. */
export function isAborted(error: unknown): boolean {
  return sqlStateOf(error) === IN_FAILED_SQL_TRANSACTION;
}
