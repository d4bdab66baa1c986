import type { HttpResponse } from './http-exchange.js';

/** Headers that say something of the body that they come with, or send its client or a proxy elsewhere. */
const HEADERS_OF_BODY: ReadonlySet<string> = new Set([
  'accept-ranges',
  'age',
  'clear-site-data',
  'content-digest',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'digest',
  'etag',
  'expires',
  'last-modified',
  'link',
  'location',
  'pragma',
  'refresh',
  'repr-digest',
  'surrogate-control',
  'surrogate-key',
  'trailer',
  'transfer-encoding',
  'x-accel-expires',
  'x-accel-redirect',
  'x-sendfile',
]);

/**
 * Takes away the headers of a body that was dropped, and would not fit another one. All others stay, as
 * after an error that a handler throws: those of CORS and of security, cookies, the id of a request.
 */
export function removeHeadersOfBody(response: HttpResponse): void {
  const names = response.getHeaderNames?.() ?? Object.keys(response.getHeaders?.() ?? {});
  // Of caches between the server and the client, each vendor has one of its own.
  names
    .filter((name) => HEADERS_OF_BODY.has(name) || name.endsWith('cache-control'))
    .forEach((name) => response.removeHeader?.(name));
}
