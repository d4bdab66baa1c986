import { DbContextError, named, type ErrorPlace } from './db-context-error.js';

/** Why a statement cannot be streamed, see {@link StreamRefusedError}. */
export type StreamRefusalReason = 'no-query' | 'writes' | 'several-statements' | 'locks-rows';

/**
 * `stream()` was called for a statement that PostgreSQL gives no cursor for. Without one, all of its rows
 * would be in memory at once. Nothing was sent, and the transaction goes on.
 *
 * @publicApi
 */
export class StreamRefusedError extends DbContextError {
  declare readonly connectionName: string;

  constructor(
    place: string | ErrorPlace,
    readonly reason: StreamRefusalReason,
  ) {
    super(
      'STREAM_REFUSED',
      `stream() on connection ${named(place)} was given ${STREAM_REFUSALS[reason]}, for which ` +
        'PostgreSQL has no cursor: all of its rows would be in memory at once. It was not sent.',
      undefined,
      place,
    );
  }
}

const STREAM_REFUSALS: Readonly<Record<StreamRefusalReason, string>> = {
  'no-query':
    'a statement that is no SELECT, VALUES, TABLE or WITH (run it with execute(), which holds all of its ' +
    'rows, or stream a SELECT of what it wrote)',
  writes:
    'a query that writes, by a WITH or by INTO (run it with execute(), which holds all of its rows, or ' +
    'stream a SELECT of what it wrote)',
  'several-statements': 'several statements (stream them one by one)',
  'locks-rows':
    'a query that locks rows, outside of a transaction (leave the lock out, which would end with the ' +
    'statement, or stream inside a transaction)',
};

/**
 * A stream of `dbContext.stream()` was destroyed, since what it is made of has failed, or its commit;
 * `cause` is what was thrown. What was read of it before is not all of it.
 *
 * @publicApi
 */
export class StreamFailedError extends DbContextError {
  constructor(
    override readonly origin: string,
    cause: unknown,
  ) {
    super(
      'STREAM_FAILED',
      `${origin} failed and was destroyed; its context was rolled back. What was read of it is incomplete: ` +
        'let its reader discard that, or ask again. Its cause says why.',
      cause,
    );
  }
}

/**
 * A stream of `dbContext.stream()` was open for longer than its `timeoutMs`. It was destroyed, and its
 * context rolled back.
 *
 * @publicApi
 */
export class StreamTimeoutError extends DbContextError {
  constructor(
    override readonly origin: string,
    readonly timeoutMs: number,
  ) {
    super(
      'STREAM_TIMEOUT',
      `${origin} was open for more than ${timeoutMs} ms, and was destroyed so that its connection is free ` +
        'again. Look for a client that reads slowly, or raise its limit: ' +
        'dbContext.stream(source, { timeoutMs }).',
    );
  }
}
