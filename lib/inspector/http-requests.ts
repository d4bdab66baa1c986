import { guarded, type ListenerFailed } from '../telemetry/subscriptions.js';
import { clientHasLeft, type HttpRequest, type HttpResponse } from '../transport/http-exchange.js';
import { keepFromOtherOrigins, type HeaderWriter } from './own-answer.js';
import type { OwnPaths } from './own-paths.js';
import type { RecordLookup } from './record-lookup.js';
import type { RequestLog } from './request-log.js';
import type { RequestRecord } from './request-record.js';
import { routeOf, type RoutedRequest } from './route-of.js';

/** The route, below that of the page, that leads from a slash at the end to the page. */
export const REDIRECT = 'redirect';

type Listener = (request: HttpRequest, response: HttpResponse & HeaderWriter) => void;

/** The members of Node's servers that this file uses. */
export interface ListenedServer {
  prependListener(event: 'request', listener: Listener): unknown;
  off(event: 'request', listener: Listener): unknown;
}

/** The members of Fastify's instance and of its requests that this file uses. */
interface FastifyRequest extends RoutedRequest {
  readonly raw: object;
}
interface FastifyInstance {
  addHook?(
    name: 'onRequest',
    hook: (request: FastifyRequest, reply: unknown, done: () => void) => void,
  ): unknown;
}

/** The HTTP side of an application. */
export interface RequestSource {
  readonly server: ListenedServer;
  /** The framework's own object, `FastifyInstance` for one. */
  readonly instance: unknown;
}

/** What the records are kept in, and who hears of its faults. */
export interface RequestRecords {
  readonly log: RequestLog;
  readonly lookup: RecordLookup;
  readonly failed: ListenerFailed;
}

/**
 * Begins a record for each request of a server, before the application sees it: before all middleware, and
 * with Express and Fastify alike.
 *
 * @returns a function that stops this
 */
export function recordRequests(
  { server, instance }: RequestSource,
  { log, lookup, failed }: RequestRecords,
  own: OwnPaths,
): () => void {
  const records = new WeakMap<object, RequestRecord>();
  // What these listeners threw would be an uncaught exception, and leave a request without an answer.
  const listener: Listener = guarded((request, response) => {
    const path = pathOf(request);
    if (own.has(path)) {
      lookup.enterUnseen();
      keepFromOtherOrigins(response);
      if (own.isSlashed(path)) {
        // Fastify has no route for it, and files that are linked relative to it would be sought in the wrong place.
        (request as { url: string }).url = `${path}${REDIRECT}`;
      }
      return;
    }
    const record = lookup.enter({ method: request.method, path });
    records.set(request, record);
    const closed = (): void => {
      record.endedAt = performance.now();
      record.isAbandoned = clientHasLeft(response);
      record.status = response.headersSent === true ? response.statusCode : undefined;
      record.route ??= routeOf(request);
      log.changed(record);
    };
    response.once?.('close', guarded(closed, failed));
  }, failed);
  server.prependListener('request', listener);
  noteRoutesOfFastify(instance as FastifyInstance, records);
  return () => void server.off('request', listener);
}

/**
 * Of what no interceptor has served, a request that a guard denies for one, the framework still knows the route:
 * Express in the request, and Fastify in its own requests alone, before guards run.
 */
function noteRoutesOfFastify(
  instance: FastifyInstance,
  records: WeakMap<object, RequestRecord>,
): void {
  if (typeof instance.addHook !== 'function') {
    return;
  }
  instance.addHook('onRequest', (request, _reply, done) => {
    const record = records.get(request.raw);
    if (record !== undefined) {
      record.route = routeOf(request);
    }
    done();
  });
}

/** The query is left out: it may hold secrets. */
function pathOf({ url = '' }: HttpRequest): string {
  return url.split('?', 1)[0] ?? '';
}
