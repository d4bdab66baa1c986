import type { EntityManager } from '@mikro-orm/core';

import { isTimeLimit } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { checkKeys } from '../options/option-keys.js';
import { DEFAULT_CONNECTION_NAME, DEFAULTS } from '../options/defaults.js';
import {
  checkTransactionSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';
import type { ContextRegistry } from './context-registry.js';
import type { StreamPlan } from './context-stream.js';
import type { ConnectionChoice } from './run-options.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/**
 * What a stream is made of: an async generator as a rule. It is called at the first read.
 *
 * @param session the session of the stream's context; injected sessions and repositories work in it, too
 * @param signal fires when nobody reads on: the stream was destroyed, or its limit has passed
 * @publicApi
 */
export type StreamSource<T, E extends EntityManager = DriverEntityManager> = (
  session: E,
  signal: AbortSignal,
) => AsyncIterable<T>;

/**
 * Options of `dbContext.stream()`; those of {@link TransactionSettings} are for the transaction of
 * `connection`.
 *
 * @publicApi
 */
export interface StreamOptions extends ConnectionChoice, TransactionSettings {
  /**
   * Whether writing is refused, on all connections.
   * @defaultValue true
   */
  readonly readOnly?: boolean;
  /**
   * Longest time from the first read to the end, in milliseconds; it then fails with
   * {@link StreamTimeoutError}. It stands in place of `contextTimeoutMs`, of `transactionTimeoutMs`, and,
   * unless that is given here, of `idleTimeoutMs`, since a client may read slowly.
   * @defaultValue 600_000
   */
  readonly timeoutMs?: number;
  /**
   * Whether what the source yields is passed on as it is. A stream of bytes takes strings, which become
   * UTF-8, and `Uint8Array`s, such as `Buffer`.
   * @defaultValue false
   */
  readonly objectMode?: boolean;
  /**
   * How much is read ahead of the reader: bytes, or the number of objects.
   * @defaultValue Node's
   */
  readonly highWaterMark?: number;
  /**
   * What messages call it.
   * @defaultValue that of the context that it is made in, such as `ExportController.notes stream`
   */
  readonly name?: string;
}

/** How a context is made ready for a stream, and what messages call it. */
export function planStream(
  registry: ContextRegistry,
  source: StreamSource<unknown, never>,
  options: StreamOptions,
): StreamPlan {
  checkKeys(options, 'stream', 'dbContext.stream()');
  const {
    connection = DEFAULT_CONNECTION_NAME,
    timeoutMs = DEFAULTS.stream.timeoutMs,
    objectMode = false,
    highWaterMark,
    name,
    readOnly = true,
    ...settings
  } = options;
  checkTransactionSettings({ readOnly, ...settings }, 'dbContext.stream()');
  if (!isTimeLimit(timeoutMs)) {
    throw new InvalidOptionsError(
      `dbContext.stream() has timeoutMs: ${String(timeoutMs)}. Give a number of milliseconds above 0.`,
    );
  }
  const session = registry.connections.handle(connection);
  const maker = registry.active();
  const idleTimeoutMs = Math.ceil(timeoutMs);
  return {
    origin: name ?? (maker === undefined ? 'dbContext.stream()' : `${maker.origin} stream`),
    timeoutMs,
    objectMode,
    highWaterMark,
    isReadOnly: readOnly,
    begin: (context, signal) => {
      for (const { name: each } of registry.connections.all) {
        context.configure(each, { readOnly, idleTimeoutMs });
      }
      context.configure(connection, settings);
      return source(session as never, signal)[Symbol.asyncIterator]();
    },
  };
}
