import { inspect } from 'node:util';

import { isTimeLimit, LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { DuplicateConnectionError, InvalidOptionsError } from '../errors.js';
import type { DbConnectionOptions } from './connection-options.js';
import type { DbContextOptions } from './context-options.js';
import type { DbContextModuleOptions } from './module-options.js';
import { checkConnectionKeys, checkKeys } from './option-keys.js';
import { FLUSH_TIMES } from './flush-time.js';
import { connectionNameOf } from './resolve-connection-options.js';

/** The options that take one of a few strings. */
const CHOICES = {
  mount: ['interceptor', 'middleware', 'none'],
  flush: FLUSH_TIMES,
  onDisconnect: ['finish', 'rollback'],
} as const satisfies { [K in keyof DbContextOptions]?: readonly DbContextOptions[K][] };

/**
 * Checks the options at run time, before any provider is made, for options that come from the environment
 * or from JavaScript.
 *
 * @throws {@link InvalidOptionsError}, {@link DuplicateConnectionError}
 */
export function checkModuleOptions(
  options: DbContextModuleOptions,
  method: string,
): DbContextModuleOptions {
  const where = `DbContextModule.${method}()`;
  if (!Array.isArray(options?.connections)) {
    throw new InvalidOptionsError(
      `${where} was given no connections. Write { connections: [defineConfig({ clientUrl, ` +
        'entities })] }, with defineConfig from "@mikro-orm/postgresql".',
    );
  }
  checkKeys(options, 'module', where);
  options.connections.forEach((connection, index) =>
    checkConnectionOptions(connection, `${where}: connection number ${index + 1}`),
  );
  assertDistinct(options.connections.map(connectionNameOf));
  for (const [key, choices] of Object.entries(CHOICES)) {
    const value = options[key as keyof typeof CHOICES];
    if (value !== undefined && !(choices as readonly string[]).includes(value)) {
      throw new InvalidOptionsError(
        `${where} was given ${key}: ${value}. Give one of ${choices.join(', ')}.`,
      );
    }
  }
  checkMethods(options.readOnlyMethods, where);
  checkKinds(options, where);
  const { shutdownTimeoutMs, hookTimeoutMs, contextTimeoutMs, watch } = options;
  checkTimeLimits({ shutdownTimeoutMs, hookTimeoutMs, contextTimeoutMs }, where);
  if (typeof watch === 'object') {
    checkKeys(watch, 'watch', `${where}: watch`);
    checkTimeLimits({ ...watch }, `${where}: watch`);
  }
  return options;
}

/** The options that are of one kind, with what to give. */
const KINDS = {
  commitOn: ['function', 'a function, such as ({ failed, status }) => !failed || status === 401'],
  beforeCommit: ['function', 'a function of the session and the name of its connection'],
  serializeFirst: ['boolean', 'true or false'],
} as const satisfies { [K in keyof DbContextOptions]?: readonly [kind: string, advice: string] };

function checkKinds(options: DbContextOptions, where: string): void {
  const refuse = (key: keyof DbContextOptions, advice: string): never => {
    throw new InvalidOptionsError(
      `${where} was given ${key}: ${inspect(options[key])}. Give ${advice}.`,
    );
  };
  for (const [key, [kind, advice]] of Object.entries(KINDS)) {
    const value = options[key as keyof typeof KINDS];
    if (value !== undefined && typeof value !== kind) {
      refuse(key as keyof typeof KINDS, advice);
    }
  }
  const { watch } = options;
  if (watch === null || !['undefined', 'boolean', 'object'].includes(typeof watch)) {
    refuse('watch', 'true, false, or an object with limits in milliseconds');
  }
}

function checkMethods(methods: unknown, where: string): void {
  const isList =
    Array.isArray(methods) &&
    methods.every((each) => typeof each === 'string' && /^[A-Z]+$/.test(each));
  if (methods !== undefined && !isList) {
    throw new InvalidOptionsError(
      `${where} was given readOnlyMethods: ${inspect(methods)}. Give a list of methods in capitals, ` +
        "such as ['GET', 'HEAD'].",
    );
  }
}

function checkTimeLimits(limits: Readonly<Record<string, unknown>>, where: string): void {
  for (const [name, value] of Object.entries(limits)) {
    if (value !== undefined && !isTimeLimit(value)) {
      throw new InvalidOptionsError(
        `${where} was given ${name}: ${inspect(value)}. Give a number of milliseconds between 1 and ` +
          `${LONGEST_LIMIT_MS}.`,
      );
    }
  }
}

/**
 * @param where the beginning of the error's message
 * @throws {@link InvalidOptionsError}
 */
export function checkConnectionOptions(options: DbConnectionOptions, where: string): void {
  if (typeof options !== 'object' || options === null) {
    throw new InvalidOptionsError(
      `${where} was given no options. Write { name: 'reports', ...defineConfig({ clientUrl }) } ` +
        'for a connection; entities, for their repositories, go in a list: forFeature([Author]).',
    );
  }
  if (options.orm instanceof Promise) {
    throw new InvalidOptionsError(
      `${where} was given an orm that is a promise. Await it, or use forRootAsync() with a ` +
        'factory that does.',
    );
  }
  checkConnectionKeys(options, where);
}

/**
 * Compares the names that providers were made for with those that the factory returned.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkConnectionNames(
  declared: readonly string[],
  { connections }: DbContextModuleOptions,
): void {
  const returned = connections.map(connectionNameOf);
  const isSame =
    declared.length === returned.length && declared.every((name) => returned.includes(name));
  if (!isSame) {
    throw new InvalidOptionsError(
      `DbContextModule.forRootAsync() declares the connections ${list(declared)}, and its factory ` +
        `returned ${list(returned)}. Providers are made before it runs, so the names must be ` +
        `declared: forRootAsync({ connectionNames: ${list(returned)}, ... }).`,
    );
  }
}

/** @throws {@link DuplicateConnectionError} */
export function assertDistinct(names: readonly string[]): void {
  const duplicate = names.find((name, index) => names.indexOf(name) !== index);
  if (duplicate !== undefined) {
    throw new DuplicateConnectionError(duplicate);
  }
}

function list(names: readonly string[]): string {
  return `[${names.map((name) => `'${name}'`).join(', ')}]`;
}
