import { InvalidOptionsError } from '../errors.js';
import type { DbConnectionOptions } from './connection-options.js';

/**
 * Refuses a MikroORM instance where the options of a connection are expected, and what is no instance where
 * one is.
 *
 * @throws {@link InvalidOptionsError}
 */
export function assertOrm(name: string, options: DbConnectionOptions): void {
  if (isOrm(options)) {
    throw new InvalidOptionsError(
      'A MikroORM instance stands where the options of a connection are expected. Give it as an option: ' +
        'connections: [{ orm }].',
    );
  }
  const { orm } = options;
  if (orm !== undefined && !isOrm(orm)) {
    throw new InvalidOptionsError(
      `"orm" of connection "${name}" is ${nameOf(orm)} and no MikroORM instance. Give what ` +
        'MikroORM.init() resolves to: connections: [{ orm }].',
    );
  }
}

/** By its shape, since it may be of another copy of MikroORM, for which there is an error of its own. */
function isOrm(value: unknown): boolean {
  const { em, driver, reconnect } = (value ?? {}) as Record<string, unknown>;
  return typeof em === 'object' && typeof driver === 'object' && typeof reconnect === 'function';
}

function nameOf(value: unknown): string {
  return typeof value === 'object' && value !== null
    ? `an instance of ${value.constructor.name}`
    : String(value);
}
