import type { DbConnection } from '../connection/db-connection.js';
import { WritePositions } from '../connection/write-positions.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import { parsePosition, positionText } from './position-text.js';
import { cookieOf, setCookie, setHeader } from './response-headers.js';

/**
 * What the client of a request had written before, to be seen by the reads of the request; what the
 * request writes is told to the client, with each commit.
 *
 * @param connections those with `readYourWrites`
 * @returns `undefined` where there are none, or no client that could be told
 */
export function requestPositions(
  connections: readonly DbConnection[],
  request: HttpRequest | undefined,
  response: HttpResponse | undefined,
): WritePositions | undefined {
  if (connections.length === 0 || request === undefined || response === undefined) {
    return undefined;
  }
  const positions = new WritePositions();
  for (const { name, readYourWrites } of connections) {
    if (readYourWrites !== undefined) {
      const { headers = {} } = request;
      const text =
        readYourWrites.via === 'cookie'
          ? cookieOf(headers['cookie'], readYourWrites.name)
          : headers[readYourWrites.name.toLowerCase()];
      const position = parsePosition(text, readYourWrites.maxAgeSeconds, Date.now());
      if (position !== undefined) {
        positions.expect(name, position);
      }
    }
  }
  tellClient(positions, connections, response);
  return positions;
}

/**
 * Tells the client of what is committed from now on, as it is committed: a handler may send its
 * response right after that, and a request that fails later has written all the same.
 */
export function tellClient(
  positions: WritePositions,
  connections: readonly DbConnection[],
  response: HttpResponse,
): void {
  positions.listen((connectionName, position) => {
    const options = connections.find(({ name }) => name === connectionName)?.readYourWrites;
    if (options === undefined) {
      return;
    }
    const text = positionText(position, Date.now());
    if (options.via === 'header') {
      setHeader(response, options.name, text);
    } else {
      const attributes = `Max-Age=${options.maxAgeSeconds}; Path=/; HttpOnly; SameSite=Lax`;
      const secure = options.secure ? '; Secure' : '';
      setCookie(response, options.name, `${options.name}=${text}; ${attributes}${secure}`);
    }
  });
}
