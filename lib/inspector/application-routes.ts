import { RequestMethod, VERSION_NEUTRAL, VersioningType, type Type } from '@nestjs/common';
import { MetadataScanner, type ApplicationConfig, type ModulesContainer } from '@nestjs/core';

// Nest's own metadata keys; `test/e2e/inspector-collisions.spec.ts` fails when an upgrade changes them.
const PATH_METADATA = 'path';
const METHOD_METADATA = 'method';
const VERSION_METADATA = '__version__';
const MODULE_PATH = '__module_path__';

/** A route of a controller. */
export interface ApplicationRoute {
  readonly controller: Type;
  /** `OrdersController.list (GET /orders)`. */
  readonly name: string;
  /** The HTTP method, or `ALL`. */
  readonly method: string;
  /** Without the global prefix. */
  readonly path: string;
}

/**
 * The routes of all controllers, in the order in which Nest hands them to the server; those that have a version in
 * their path are left out.
 */
export function applicationRoutes(
  modules: ModulesContainer,
  config: ApplicationConfig,
): readonly ApplicationRoute[] {
  const versioning = config.getVersioning();
  const isInPath = (version: unknown): boolean =>
    versioning?.type === VersioningType.URI &&
    version !== undefined &&
    !listOf(version).includes(VERSION_NEUTRAL);
  return [...modules.values()].flatMap((module) => {
    const ofModule = modulePathOf(module.metatype, modules.applicationId);
    return [...module.controllers.values()].flatMap(({ metatype }) =>
      routesOf(metatype as Type)
        .filter(({ version }) => !isInPath(version ?? versioning?.defaultVersion))
        .map(({ name, method, path }) => {
          const whole = joined(ofModule, path);
          return {
            controller: metatype as Type,
            name: `${name} (${method} ${whole})`,
            method,
            path: whole,
          };
        }),
    );
  });
}

/** Of one controller, without the path of its module. */
function routesOf(
  type: Type,
): readonly (Pick<ApplicationRoute, 'name' | 'method' | 'path'> & { readonly version: unknown })[] {
  const prototype = type.prototype as Record<string, object>;
  return new MetadataScanner().getAllMethodNames(prototype).flatMap((methodName) => {
    const handler = prototype[methodName]!;
    const ofMethod: unknown = Reflect.getMetadata(PATH_METADATA, handler);
    if (ofMethod === undefined) {
      return [];
    }
    const method = RequestMethod[Reflect.getMetadata(METHOD_METADATA, handler) as RequestMethod];
    const version: unknown =
      Reflect.getMetadata(VERSION_METADATA, handler) ?? Reflect.getMetadata(VERSION_METADATA, type);
    return listOf(Reflect.getMetadata(PATH_METADATA, type)).flatMap((outer) =>
      listOf(ofMethod).map((inner) => ({
        name: `${type.name}.${methodName}`,
        method,
        path: joined(String(outer), String(inner)),
        version,
      })),
    );
  });
}

/** What `RouterModule` has given to a module. */
function modulePathOf(type: object, applicationId: string): string {
  const path: unknown =
    Reflect.getMetadata(`${MODULE_PATH}${applicationId}`, type) ??
    Reflect.getMetadata(MODULE_PATH, type);
  return typeof path === 'string' ? path : '';
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}

function joined(...parts: readonly string[]): string {
  const segments = parts.flatMap((part) => part.split('/')).filter((segment) => segment !== '');
  return `/${segments.join('/')}`;
}
