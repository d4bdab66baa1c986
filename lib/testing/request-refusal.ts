import { AsyncLocalStorage } from 'node:async_hooks';

import { withoutPage } from '../error-page.js';
import type { DbContextError } from '../errors.js';

/** The header of a response that says why work of its request was refused. */
export const REFUSAL_HEADER = 'x-db-context-refused';

/** The part of a response that is needed to set a header. */
interface RefusableResponse {
  readonly headersSent: boolean;
  hasHeader(name: string): boolean;
  setHeader(name: string, value: string): unknown;
}

const responses = new AsyncLocalStorage<RefusableResponse | undefined>();

/**
 * Runs the handling of a request.
 *
 * @param response gets a header where work of the request is refused; an upgraded socket takes none
 */
export function answering<T>(response: unknown, work: () => T): T {
  return responses.run(takesHeaders(response) ? response : undefined, work);
}

/**
 * Has the response of the request that the current code handles say that its work was refused. Without this
 * its test gets a plain 500, since Nest keeps the reason of an error to itself.
 */
export function sayRefused({ code, message }: DbContextError): void {
  const response = responses.getStore();
  // The first refusal is the cause of the others.
  if (response?.headersSent === false && !response.hasHeader(REFUSAL_HEADER)) {
    response.setHeader(REFUSAL_HEADER, inAscii(`${code}: ${withoutPage(message)}`));
  }
}

function takesHeaders(response: unknown): response is RefusableResponse {
  return typeof (response as Partial<RefusableResponse> | undefined)?.setHeader === 'function';
}

/** A header has no line breaks, and of other letters than those of ASCII only some. */
function inAscii(text: string): string {
  return text.replaceAll(
    /[^\x20-\x7e]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
