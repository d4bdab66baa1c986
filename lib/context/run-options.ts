import { inspect } from 'node:util';

import { InvalidOptionsError } from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { checkKeys } from '../options/option-keys.js';
import type { RetryOptions } from '../options/retry-options.js';
import type { AtomicSettings } from './atomic.js';

/** Options of `dbContext.run()` and `runInNewContext()`. */
export interface RunOptions<T> {
  /**
   * What the context is called in errors and in the log; where an active context is joined, it keeps its
   * own name.
   * @defaultValue the name of the call: `dbContext.run()`
   */
  readonly name?: string;
  /**
   * Whether a result commits.
   * @defaultValue every result commits
   */
  readonly commitOn?: (result: T) => boolean;
  /**
   * Whether what is thrown commits all the same; it is thrown on afterwards.
   * @defaultValue no error commits
   */
  readonly commitOnError?: (error: unknown) => boolean;
  /**
   * Runs the callback again, in a new context, on a serialization failure or a deadlock; never by
   * default, never where an active context is joined, and not after it has committed a part early.
   */
  readonly retry?: RetryOptions;
}

/** Options of `dbContext.runAllInNewContexts()`. */
export interface RunAllOptions {
  /**
   * How many functions may run at the same time, and so how many connections of one pool they hold.
   * @defaultValue half of the smallest pool of the application (`pool.max`), at least 1
   */
  readonly concurrency?: number;
  /** Runs a function again, in a new context, on a serialization failure or a deadlock. */
  readonly retry?: RetryOptions;
}

/** Which connection is meant. */
export interface ConnectionChoice {
  /**
   * Name of the connection.
   * @defaultValue 'default'
   */
  readonly connection?: string;
}

/**
 * The name of the connection that is meant.
 *
 * @param where the method, for the error's message
 * @throws {@link InvalidOptionsError}
 */
export function chosenConnection(options: ConnectionChoice, where: string): string {
  checkKeys(options, 'choice', where);
  return options.connection ?? DEFAULT_CONNECTION_NAME;
}

/** @throws {@link InvalidOptionsError} there is nothing to be run */
export function assertFunction(callback: unknown, where: string): void {
  if (typeof callback !== 'function') {
    throw new InvalidOptionsError(
      `${where} was given ${inspect(callback)} to run. Give a function: ${where.replace('()', '')}(() => ...).`,
    );
  }
}

/** Options of `dbContext.atomic()`. */
export interface AtomicOptions extends ConnectionChoice, AtomicSettings {}
