import { InvalidOptionsError } from '../errors.js';
import type { ApplicationRoute } from './application-routes.js';

/** Requests of the page, below its path. */
const PAGES = ['', '/stream', '/state', '/requests/1', '/page.js'];
/** The methods by which the page is asked for. */
const READS = new Set(['GET', 'ALL']);

/** The routes of an application around those of the page of the inspector. */
export interface RoutesAround {
  /** Those that the server is given before the page, and after it. */
  readonly before: readonly ApplicationRoute[];
  readonly after: readonly ApplicationRoute[];
}

/**
 * Finds routes of the application which the page of the inspector takes requests from, or which take requests of the
 * page.
 *
 * @param path of the page, without the global prefix, as those of the routes are
 * @param isByOrder whether of two routes that fit the server takes the first one (Express), rather than the one that
 *   says more (Fastify)
 * @returns what is to be said of them
 * @throws {@link InvalidOptionsError} the application has routes at or below the path of the page
 */
export function routeCollisions(
  path: string,
  { before, after }: RoutesAround,
  isByOrder: boolean,
): readonly string[] {
  const within = [...before, ...after].find((route) => isAtOrBelow(route.path, path));
  if (within !== undefined) {
    throw new InvalidOptionsError(
      `The page of DbContextInspectorModule is at '${path}', and at or below that the application has ` +
        `${within.name}, so that one of them would not be reached. Give the inspector another path.`,
    );
  }
  const fits = (route: ApplicationRoute): boolean =>
    READS.has(route.method) && PAGES.some((page) => patternOf(route.path).test(`${path}${page}`));
  const first = isByOrder ? before.find(fits) : undefined;
  if (first !== undefined) {
    return [
      `The inspector at '${path}' is not reached: ${first.name} comes before it. Move that into a module that is ` +
        'imported after DbContextInspectorModule.',
    ];
  }
  return [...before, ...after]
    .filter((route) => fits(route) && !isForTheRest(route.path))
    .map(
      ({ name }) =>
        `The inspector at '${path}' takes requests that ${name} would get. Give it another path if one of them is ` +
        'meant for the application.',
    );
}

function isAtOrBelow(route: string, path: string): boolean {
  return `${route}/`.toLowerCase().startsWith(`${path}/`.toLowerCase());
}

/** A route with a wildcard has what no other route takes; it loses nothing that it was meant to get. */
function isForTheRest(route: string): boolean {
  return route.includes('*');
}

/** The paths that a route fits, more rather than fewer of them: what is optional, or a pattern, may be anything. */
function patternOf(route: string): RegExp {
  const segments = route.split('/').slice(1);
  const open = segments.findIndex((segment) => /[*({]/.test(segment));
  const known = (open === -1 ? segments : segments.slice(0, open)).map((segment) =>
    segment.includes(':') ? '[^/]+' : segment.replaceAll(/[^\w-]/g, String.raw`\$&`),
  );
  return new RegExp(
    `^${known.map((each) => `/${each}`).join('')}${open === -1 ? '' : '(?:/.*)?'}$`,
    'i',
  );
}
