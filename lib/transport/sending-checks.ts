import {
  OutgoingMessage,
  ServerResponse,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http';

import type { HeldMethod, NodeResponse } from './node-response.js';

// Node's own, of which each server may have a subclass.
const writeHead = Reflect.get(ServerResponse.prototype, 'writeHead') as (
  this: OutgoingMessage,
  ...parameters: readonly unknown[]
) => unknown;

const LOWEST_STATUS = 100;
const HIGHEST_STATUS = 999;

/**
 * Refuses what Node would refuse: a call that is held back is made later, when its error would reach nobody.
 *
 * @throws RangeError, TypeError with the code that Node's error has
 */
export function assertSendable(method: HeldMethod, parameters: readonly unknown[]): void {
  const [first, second] = parameters;
  if (method === 'write' || (method === 'end' && typeof first !== 'function')) {
    assertChunk(first, second, method);
  } else if (method === 'addTrailers') {
    assertHeaders(first);
  } else if (method === 'setTrailer') {
    assertHeaders({ [String(first)]: second });
  }
}

/**
 * Refuses a head that Node would refuse, with what was set before its first byte.
 *
 * @param parameters those of `writeHead()`
 * @throws RangeError, TypeError with the code that Node's error has
 */
export function assertHead(raw: NodeResponse, parameters: readonly unknown[]): void {
  const status = Number(parameters[0]);
  if (!(status >= LOWEST_STATUS && status <= HIGHEST_STATUS)) {
    throw coded(new RangeError(`Invalid status code: ${status}`), 'ERR_HTTP_INVALID_STATUS_CODE');
  }
  if (raw.stream === undefined) {
    tryHead(raw, parameters);
  } else {
    assertHeaders(parameters.at(-1));
  }
}

/** Lets Node write the head for trial, into a message that is never sent. */
function tryHead(raw: NodeResponse, parameters: readonly unknown[]): void {
  const trial: OutgoingMessage & { statusMessage?: string | undefined } = new OutgoingMessage();
  trial.statusMessage = raw.statusMessage;
  try {
    for (const name of raw.getHeaderNames?.() ?? []) {
      trial.setHeader(name, raw.getHeader?.(name) ?? '');
    }
    writeHead.call(trial, ...parameters);
  } catch (error) {
    // Another runtime may not write the head of a message like this one.
    if (String((error as { readonly code?: unknown }).code).startsWith('ERR_')) {
      throw error;
    }
  }
}

function assertHeaders(headers: unknown): void {
  if (typeof headers !== 'object' || headers === null) {
    return;
  }
  if (Array.isArray(headers)) {
    if (headers.length % 2 !== 0 && !Array.isArray(headers[0])) {
      throw coded(new TypeError('A header has no value'), 'ERR_INVALID_ARG_VALUE');
    }
    return;
  }
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderName(name);
    for (const each of [value].flat()) {
      validateHeaderValue(name, each as string);
    }
  }
}

function assertChunk(chunk: unknown, encoding: unknown, method: 'write' | 'end'): void {
  const isMissing = chunk === undefined || chunk === null;
  const isBinary = chunk instanceof Uint8Array;
  if (typeof chunk !== 'string' && !isBinary && !(isMissing && method === 'end')) {
    throw coded(
      new TypeError('The "chunk" argument must be of type string or an instance of Buffer'),
      'ERR_INVALID_ARG_TYPE',
    );
  }
  if (typeof chunk === 'string' && typeof encoding === 'string' && !Buffer.isEncoding(encoding)) {
    throw coded(new TypeError(`Unknown encoding: ${encoding}`), 'ERR_UNKNOWN_ENCODING');
  }
}

function coded(error: Error, code: string): Error {
  return Object.assign(error, { code });
}
