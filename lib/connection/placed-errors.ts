import { types } from 'node:util';

import {
  ConnectionClosedError,
  ConnectionFailedError,
  describe,
  named,
  type ErrorPlace,
} from '../errors.js';
import { isServerError } from '../postgresql/server-errors.js';

/**
 * What one unit of work gets of an error that several get, since they have waited for the same. Errors that are
 * not of this library stay what they are.
 */
export function sharedErrorAt<T>(
  place: ErrorPlace,
  error: T,
): T | ConnectionFailedError | ConnectionClosedError {
  if (error instanceof ConnectionFailedError) {
    return new ConnectionFailedError(place, error.cause);
  }
  return error instanceof ConnectionClosedError
    ? new ConnectionClosedError(place, error.cutOffAfterMs)
    : error;
}

/** The classes that `pg` and Node make errors of, beside that of the server's. */
const PLAIN = new Set(['Error', 'AggregateError', 'RangeError', 'TypeError']);

/**
 * An error of the driver for code that takes connections past its session: it catches what it would without
 * this library, so the error has the same class and fields, and says the place in its message alone. It is
 * another object, since the application may have thrown one object to several.
 *
 * @returns `error` itself where its class is one of the application's, whose fields may be private
 */
export function driverErrorAt(place: ErrorPlace, error: unknown): unknown {
  if (!types.isNativeError(error) || !(PLAIN.has(error.constructor.name) || isServerError(error))) {
    return error;
  }
  const { name, stack } = error;
  // Node's error for a host with several addresses has no message of its own.
  const message = `${error.message || describe(error)} (connection ${named(place)})`;
  const frames = String(stack)
    .split('\n')
    .filter((line) => line.trimStart().startsWith('at '));
  const own = Object.getOwnPropertyDescriptors(error);
  const text = { writable: true, configurable: true, enumerable: false };
  const placed = Object.setPrototypeOf(new Error(message), Object.getPrototypeOf(error) as object);
  return Object.defineProperties(placed, {
    ...own,
    message: { ...text, value: message },
    stack: { ...text, value: [`${name}: ${message}`, ...frames].join('\n') },
  });
}
