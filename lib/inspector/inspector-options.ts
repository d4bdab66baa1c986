import { isIP } from 'node:net';
import { inspect } from 'node:util';

import type { CanActivate, FactoryProvider, ModuleMetadata, Type } from '@nestjs/common';

import { InvalidOptionsError } from '../errors.js';
import { checkKeys } from '../options/option-keys.js';

/**
 * Where the page of the inspector is, and who may see it: what is known before any provider is made.
 *
 * @publicApi
 */
export interface DbContextInspectorPlace {
  /**
   * Path of the page, behind the global prefix of the application if it has one.
   * @defaultValue '/__db'
   */
  readonly path?: string;
  /** A guard of yours in front of the page and of all that it loads; required in production. */
  readonly guard?: Type<CanActivate> | CanActivate;
  /** Modules that export what `guard`, or the factory of `forRootAsync()`, injects. */
  readonly imports?: ModuleMetadata['imports'];
}

/**
 * What the inspector keeps and shows.
 *
 * @publicApi
 */
export interface DbContextInspectorSettings {
  /**
   * Lets the application boot with the inspector although `NODE_ENV` is `production`. A `guard` is needed
   * there as well.
   * @defaultValue false
   */
  readonly allowInProduction?: boolean;
  /**
   * Shows what is hidden by default: the values in statements and their parameters, the messages of errors of
   * the application, and the paths of requests rather than those of their routes.
   * @defaultValue false
   */
  readonly showValues?: boolean;
  /**
   * Shows the place in the code of the application that has sent a statement. To find it takes some of the
   * time of each statement.
   * @defaultValue true, and false in production
   */
  readonly showPlaces?: boolean;
  /**
   * Names of hosts, without port, by which the page may be asked for, besides IP addresses and `localhost`. A
   * name that is not listed is refused: it may be that of a page of somebody else which is made to point at
   * this server (DNS rebinding).
   * @defaultValue []
   */
  readonly hosts?: readonly string[];
  /**
   * How many requests are kept, the last ones.
   * @defaultValue 100
   */
  readonly maxRequests?: number;
  /**
   * How many statements are kept of one request, the first ones.
   * @defaultValue 200
   */
  readonly maxStatements?: number;
  /**
   * How much memory the texts of all requests may take, in bytes, about; the oldest requests give way.
   * @defaultValue 8388608 (8 MiB)
   */
  readonly maxBytes?: number;
}

/**
 * Options of `DbContextInspectorModule.forRoot()`.
 *
 * @publicApi
 */
export type DbContextInspectorOptions = DbContextInspectorPlace & DbContextInspectorSettings;

/**
 * Options of `DbContextInspectorModule.forRootAsync()`.
 *
 * @publicApi
 */
export interface DbContextInspectorAsyncOptions extends DbContextInspectorPlace {
  /** What `useFactory` is called with. */
  readonly inject?: FactoryProvider['inject'];
  readonly useFactory: (
    ...dependencies: never[]
  ) => DbContextInspectorSettings | Promise<DbContextInspectorSettings>;
}

/** Settings with their defaults. */
export type InspectorSettings = Required<DbContextInspectorSettings>;

/** Injection token of {@link InspectorSettings}. */
export const INSPECTOR_SETTINGS = Symbol('nestjs-db-context:inspector-settings');
/** Where the page is, and whether it has a guard of its own. */
export interface InspectorPlace {
  readonly path: string;
  readonly hasGuard: boolean;
}

/** Injection token of {@link InspectorPlace}. */
export const INSPECTOR_PLACE = Symbol('nestjs-db-context:inspector-place');

const DEFAULT_PATH = '/__db';
/** One or more segments of characters that need no escape, so that the page may be linked by its last one. */
const PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[\w.~-]+)+$/;
const DEFAULTS: InspectorSettings = {
  allowInProduction: false,
  showValues: false,
  showPlaces: true,
  hosts: [],
  maxRequests: 100,
  maxStatements: 200,
  maxBytes: 8 * 1024 * 1024,
};

/**
 * The path of the page.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkedPath({ path = DEFAULT_PATH }: DbContextInspectorPlace): string {
  const normal = typeof path === 'string' && !path.startsWith('/') ? `/${path}` : path;
  if (typeof normal !== 'string' || !PATH.test(normal)) {
    throw new InvalidOptionsError(
      `DbContextInspectorModule was given path: ${inspect(path)}. Give one such as '${DEFAULT_PATH}', with ` +
        'letters, digits and -._~ between its slashes.',
    );
  }
  return normal;
}

/**
 * The guard of the page, if it has one.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkedGuard({ guard }: DbContextInspectorPlace): DbContextInspectorPlace['guard'] {
  if (guard !== undefined && !isGuard(guard)) {
    throw new InvalidOptionsError(
      `DbContextInspectorModule was given guard: ${inspect(guard, { depth: 0 })}. Give the class of a guard, or ` +
        'an object with a method canActivate().',
    );
  }
  return guard;
}

/** A class may have `canActivate` as a property of its instances. */
function isGuard(guard: unknown): boolean {
  if (typeof guard === 'function') {
    return guard.prototype !== undefined;
  }
  return (
    typeof guard === 'object' &&
    guard !== null &&
    typeof (guard as { canActivate?: unknown }).canActivate === 'function'
  );
}

/** Checks the keys of what is given to the module. @throws {@link InvalidOptionsError} */
export function checkInspectorKeys(
  options: object,
  place: 'inspector' | 'inspectorAsync' | 'inspectorSettings',
): void {
  const where = place === 'inspector' ? 'forRoot()' : 'forRootAsync()';
  checkKeys(options, place, `DbContextInspectorModule.${where}`);
}

/**
 * Settings with their defaults, where the application may have an inspector at all.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkedSettings(
  { guard }: DbContextInspectorPlace,
  given: DbContextInspectorSettings,
): InspectorSettings {
  const showPlaces = !isProduction();
  const settings = { ...DEFAULTS, showPlaces, ...settingsIn(given) };
  for (const name of ['allowInProduction', 'showValues', 'showPlaces'] as const) {
    if (typeof settings[name] !== 'boolean') {
      throw new InvalidOptionsError(
        `DbContextInspectorModule was given ${name}: ${inspect(settings[name])}. Give true or false; a text ` +
          "such as 'false' of an environment variable would count as true.",
      );
    }
  }
  for (const name of ['maxRequests', 'maxStatements', 'maxBytes'] as const) {
    const value = settings[name];
    if (!Number.isInteger(value) || value < 1) {
      throw new InvalidOptionsError(
        `DbContextInspectorModule was given ${name}: ${inspect(value)}. Give a whole number above 0.`,
      );
    }
  }
  if (isProduction()) {
    refuseProduction(settings, guard !== undefined);
  }
  if (!Array.isArray(settings.hosts)) {
    throw new InvalidOptionsError(
      `DbContextInspectorModule was given hosts: ${inspect(settings.hosts)}. Give a list of names.`,
    );
  }
  for (const host of settings.hosts) {
    if (typeof host !== 'string' || /[:/]/.test(host) || isIP(host) !== 0) {
      throw new InvalidOptionsError(
        `DbContextInspectorModule was given hosts with ${inspect(host)}. Give names without a port, such as ` +
          "'dev.example.com'; IP addresses need not be listed.",
      );
    }
  }
  return settings;
}

function isProduction(): boolean {
  return process.env['NODE_ENV'] === 'production';
}

function refuseProduction({ allowInProduction }: InspectorSettings, hasGuard: boolean): void {
  if (!allowInProduction) {
    throw new InvalidOptionsError(
      'DbContextInspectorModule was imported with NODE_ENV=production, where it would show the statements of ' +
        'the users. Import it in development only, or give allowInProduction: true and a guard.',
    );
  }
  if (!hasGuard) {
    throw new InvalidOptionsError(
      'DbContextInspectorModule was given allowInProduction: true without a guard, so that everybody could ' +
        'see the page. Give a guard that lets administrators pass.',
    );
  }
}

/** The settings that are given; what is not, or stands beside them, is left out. */
function settingsIn(given: DbContextInspectorSettings): DbContextInspectorSettings {
  const entries = Object.entries(given).filter(
    ([key, value]) => key in DEFAULTS && value !== undefined,
  );
  return Object.fromEntries(entries);
}
