import type { DbConnection } from '../connection/db-connection.js';
import { WrittenLsns } from '../connection/written-lsns.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import { lsnText, parseLsnText } from './lsn-text.js';
import { cookieOf, setCookie, setHeader } from './response-headers.js';

/**
 * The LSNs of what the client of a request had written before, which the reads of the request must see.
 * With each commit of the request the new LSN is sent to the client.
 *
 * @param connections those with `readYourWrites`
 * @returns `undefined` where there are no such connections, or no client to send an LSN to
 */
export function requestLsns(
  connections: readonly DbConnection[],
  request: HttpRequest | undefined,
  response: HttpResponse | undefined,
): WrittenLsns | undefined {
  if (connections.length === 0 || request === undefined || response === undefined) {
    return undefined;
  }
  const writtenLsns = expectedLsns(connections, request);
  sendLsns(writtenLsns, connections, response);
  return writtenLsns;
}

/**
 * As {@link requestLsns}, where there is no response to send LSNs with: a connection of a WebSocket keeps
 * them itself.
 */
export function expectedLsns(
  connections: readonly DbConnection[],
  { headers = {} }: HttpRequest = {},
): WrittenLsns {
  const writtenLsns = new WrittenLsns();
  for (const { name, readYourWrites } of connections) {
    if (readYourWrites !== undefined) {
      const text =
        readYourWrites.via === 'cookie'
          ? cookieOf(headers['cookie'], readYourWrites.name)
          : headers[readYourWrites.name.toLowerCase()];
      // oxlint-disable-next-line no-restricted-properties -- the client carries a time of day
      const lsn = parseLsnText(text, readYourWrites.maxAgeSeconds, Date.now());
      if (lsn !== undefined) {
        writtenLsns.expect(name, lsn);
      }
    }
  }
  return writtenLsns;
}

/**
 * Puts the LSN of each commit into the response as soon as it is known: a handler may send its response
 * right after an early commit, and a request that fails later has written all the same.
 */
export function sendLsns(
  writtenLsns: WrittenLsns,
  connections: readonly DbConnection[],
  response: HttpResponse,
): void {
  writtenLsns.listen((connectionName, lsn) => {
    const options = connections.find(({ name }) => name === connectionName)?.readYourWrites;
    if (options === undefined) {
      return;
    }
    // oxlint-disable-next-line no-restricted-properties -- the client carries a time of day
    const text = lsnText(lsn, Date.now());
    if (options.via === 'header') {
      setHeader(response, options.name, text);
    } else {
      const attributes = `Max-Age=${options.maxAgeSeconds}; Path=/; HttpOnly; SameSite=Lax`;
      const secure = options.secure ? '; Secure' : '';
      setCookie(response, options.name, `${options.name}=${text}; ${attributes}${secure}`);
    }
  });
}
