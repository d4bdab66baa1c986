import { clientHasLeft, type HttpRequest, type HttpResponse } from '../transport/http-exchange.js';
import type { OwnPaths } from './own-paths.js';
import type { RecordLookup } from './record-lookup.js';
import type { RequestLog } from './request-log.js';

type Listener = (request: HttpRequest, response: HttpResponse) => void;

/** The members of Node's servers that this file uses. */
export interface ListenedServer {
  prependListener(event: 'request', listener: Listener): unknown;
  off(event: 'request', listener: Listener): unknown;
}

/**
 * Begins a record for each request of a server, before the application sees it: before all middleware, and
 * with Express and Fastify alike.
 *
 * @returns a function that stops this
 */
export function recordRequests(
  server: ListenedServer,
  log: RequestLog,
  lookup: RecordLookup,
  own: OwnPaths,
): () => void {
  const listener: Listener = (request, response) => {
    const path = pathOf(request);
    if (own.has(path)) {
      lookup.enterUnseen();
      return;
    }
    const record = lookup.enter({ method: request.method, path });
    response.once?.('close', () => {
      record.endedAt = performance.now();
      record.isAbandoned = clientHasLeft(response);
      record.status = response.headersSent === true ? response.statusCode : undefined;
      // Of what no interceptor has served, Express still knows the route.
      record.route ??= (request as { readonly route?: { readonly path?: string } }).route?.path;
      log.changed(record);
    });
  };
  server.prependListener('request', listener);
  return () => void server.off('request', listener);
}

/** The query is left out: it may hold secrets. */
function pathOf({ url = '' }: HttpRequest): string {
  return url.split('?', 1)[0] ?? '';
}
