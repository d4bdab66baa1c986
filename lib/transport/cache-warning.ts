import type { ExecutionContext } from '@nestjs/common';

import type { Context } from '../context/context.js';
import { httpRequestOf } from './http-exchange.js';
import type { InterceptedRequest } from './intercepted-request.js';
import type { NamedInterceptor } from './route-interceptors.js';
import { mayHaveWritten } from './written-work.js';

/** The class of `@nestjs/cache-manager`, which this library does not depend on. */
const CACHE_INTERCEPTOR = 'CacheInterceptor';
/** The methods that it keeps the answers of, unless it says otherwise itself. */
const CACHED_METHODS: readonly string[] = ['GET'];

/**
 * Warns where a route is about to commit what it has written, and `CacheInterceptor` has kept its answer
 * already: after a COMMIT that fails the next client would get a success from the cache.
 */
export function warnOfCache(request: InterceptedRequest, context: Context): void {
  const { executionContext, interceptors, log, route, warnsOfCaches } = request;
  if (
    warnsOfCaches &&
    interceptors.some((each) => isCacheFor(each, executionContext)) &&
    context.sessions.some(mayHaveWritten)
  ) {
    log.keptBeforeCommit(route);
  }
}

function isCacheFor(interceptor: NamedInterceptor, executionContext: ExecutionContext): boolean {
  if (!isCache(interceptor)) {
    return false;
  }
  const { allowedMethods = CACHED_METHODS } = interceptor as { allowedMethods?: readonly string[] };
  const method = httpRequestOf(executionContext)?.method;
  return method === undefined || allowedMethods.includes(method);
}

/** Whether it is of the class, or of one that extends it. */
function isCache(interceptor: NamedInterceptor): boolean {
  let type: unknown = typeof interceptor === 'function' ? interceptor : interceptor.constructor;
  while (typeof type === 'function' && type.name !== CACHE_INTERCEPTOR) {
    type = Object.getPrototypeOf(type);
  }
  return typeof type === 'function';
}
