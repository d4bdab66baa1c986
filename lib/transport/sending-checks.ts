import { validateHeaderName, validateHeaderValue } from 'node:http';

import type { SendingMethods } from './node-response.js';

const LOWEST_STATUS = 100;
const HIGHEST_STATUS = 999;

/**
 * Refuses what Node would refuse: a call that is held back is made later, when its error would reach nobody.
 *
 * @throws RangeError, TypeError with the code that Node's error has
 */
export function assertSendable(method: keyof SendingMethods, parameters: readonly unknown[]): void {
  const [first] = parameters;
  if (method === 'writeHead') {
    assertHead(Number(first), parameters.at(-1));
  } else if (method === 'write' || (method === 'end' && typeof first !== 'function')) {
    assertChunk(first, method);
  }
}

function assertHead(status: number, headers: unknown): void {
  if (!(status >= LOWEST_STATUS && status <= HIGHEST_STATUS)) {
    const error = new RangeError(`Invalid status code: ${status}`);
    throw Object.assign(error, { code: 'ERR_HTTP_INVALID_STATUS_CODE' });
  }
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    return;
  }
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderName(name);
    for (const each of [value].flat()) {
      validateHeaderValue(name, each as string);
    }
  }
}

function assertChunk(chunk: unknown, method: 'write' | 'end'): void {
  const isMissing = chunk === undefined || chunk === null;
  if (typeof chunk === 'string' || chunk instanceof Uint8Array || (isMissing && method === 'end')) {
    return;
  }
  const error = new TypeError(
    'The "chunk" argument must be of type string or an instance of Buffer',
  );
  throw Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}
