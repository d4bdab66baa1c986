/** The members of the requests of Express and Fastify that know the route. */
export interface RoutedRequest {
  readonly route?: { readonly path?: unknown };
  readonly routeOptions?: { readonly url?: unknown };
}

/** `*`, `/*path`, `/{*path}`: Nest's middleware has such a route on Express, which is that of a request to none. */
const OF_ALL_PATHS = /^\/?\{?\/?\*/;

/** The path of the route that serves a request; none where it is one for all paths, which says nothing. */
export function routeOf(request: object): string | undefined {
  const { route, routeOptions } = request as RoutedRequest;
  const path = route?.path ?? routeOptions?.url;
  return typeof path === 'string' && !OF_ALL_PATHS.test(path) ? path : undefined;
}
