import { DatabaseDriver, Utils, type MikroORM, type Options } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import type { SqlConnection } from './mikro-orm-connection.js';

/** The oldest MikroORM that has all that sessions are built on; later ones of the same major have it too. */
export const OLDEST_MIKRO_ORM = '7.2.1';

const WHAT_IS_NEEDED = `${OLDEST_MIKRO_ORM} or a later version of ${OLDEST_MIKRO_ORM.split('.')[0]} is needed`;

/**
 * Does again what npm does with the peers in package.json, which it can be made not to do.
 *
 * @param version of the MikroORM that the library itself loads
 * @throws {@link InvalidOptionsError} the version does not fit
 */
export function assertSupportedVersion(name: string, version = Utils.getORMVersion()): void {
  const parts = version
    .match(/^(\d+)\.(\d+)\.(\d+)/)
    ?.slice(1)
    .map(Number);
  // A build of MikroORM's own sources has no number.
  if (parts !== undefined && !isWithin(parts)) {
    throw new InvalidOptionsError(
      `The connection "${name}" is over MikroORM ${version}; ${WHAT_IS_NEEDED}, for all packages of ` +
        `MikroORM alike: npm install @mikro-orm/core@^${OLDEST_MIKRO_ORM} ` +
        `@mikro-orm/postgresql@^${OLDEST_MIKRO_ORM}. If npm was told to ignore what it says of peers ` +
        '(--force, --legacy-peer-deps), do without that.',
    );
  }
}

function isWithin([major = 0, minor = 0, patch = 0]: readonly number[]): boolean {
  const [ownMajor = 0, ownMinor = 0, ownPatch = 0] = OLDEST_MIKRO_ORM.split('.').map(Number);
  return major === ownMajor && (minor > ownMinor || (minor === ownMinor && patch >= ownPatch));
}

/**
 * Explains why MikroORM could not be made of options whose driver is of another version of it.
 *
 * @throws {@link InvalidOptionsError}, or the error of `orm` itself
 */
export async function assertInitialised(
  name: string,
  driver: NonNullable<Options['driver']>,
  orm: Promise<MikroORM>,
): Promise<MikroORM> {
  try {
    return await orm;
  } catch (error) {
    if (driver.prototype instanceof DatabaseDriver) {
      throw error;
    }
    throw new InvalidOptionsError(
      `The connection "${name}" has a driver (${driver.name}) of another copy of MikroORM than the one ` +
        `that nestjs-db-context loads, which is ${Utils.getORMVersion()}, and could not be made of it. ` +
        `${WHAT_IS_NEEDED}, and one copy of it: look at npm ls @mikro-orm/core.`,
      error,
    );
  }
}

/** @throws {@link InvalidOptionsError} the MikroORM instance cannot have lazy sessions */
export function assertSupported(name: string, orm: MikroORM): void {
  const advice = `Use the driver of "@mikro-orm/postgresql": connections: [defineConfig({ clientUrl, entities })].`;
  const dependencies = orm.driver.getDependencies();
  if (dependencies.includes('@electric-sql/pglite')) {
    throw new InvalidOptionsError(
      `The connection "${name}" uses ${orm.driver.constructor.name}, which has no pool of pg, whose clients ` +
        'carry the transactions of sessions. PGlite works through its socket: start PGLiteSocketServer of ' +
        '"@electric-sql/pglite-socket", and give its address to the driver of "@mikro-orm/postgresql": ' +
        'connections: [defineConfig({ clientUrl, entities, pool: { min: 0, max: 1 } })].',
    );
  }
  if (!dependencies.includes('pg')) {
    throw new InvalidOptionsError(
      `The connection "${name}" uses ${orm.driver.constructor.name}; only PostgreSQL is supported. ${advice}`,
    );
  }
  const connection = orm.driver.getConnection('write') as Partial<SqlConnection>;
  if (connection.getClient === undefined || connection.getNativeClient === undefined) {
    throw new InvalidOptionsError(
      `The connection "${name}" was given an orm of another version of MikroORM than the one that ` +
        'nestjs-db-context loads, whose connections have no getClient() and no getNativeClient(). ' +
        `${WHAT_IS_NEEDED}, and one copy of it: look at npm ls @mikro-orm/core.`,
    );
  }
  if (orm.config.get('sessionContext') === 'connection') {
    throw new InvalidOptionsError(
      `The connection "${name}" has sessionContext: 'connection', which sets the variables of row-level ` +
        "security on pooled connections. Use sessionContext: 'transaction', which a session sets with its BEGIN.",
    );
  }
  const driverOptions: unknown = orm.config.get('driverOptions');
  if (
    driverOptions !== null &&
    typeof driverOptions === 'object' &&
    ('createDriver' in driverOptions || 'getExecutor' in driverOptions)
  ) {
    throw new InvalidOptionsError(
      `The connection "${name}" has a ready-made Kysely in driverOptions, whose pool cannot be reached. ` +
        `Give the options of the pool instead (driverOptions: { ... }). ${advice}`,
    );
  }
}
