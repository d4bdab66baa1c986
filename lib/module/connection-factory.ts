import { MikroORM, type EntityName, type Options } from '@mikro-orm/core';

import { assertClientUrl } from '../connection/assert-client-url.js';
import { assertEncrypted } from '../connection/assert-encrypted.js';
import type { ResolvedLimits } from '../connection/connection-limits.js';
import { DbConnection, type FaultReporter } from '../connection/db-connection.js';
import {
  assertInitialised,
  assertSupported,
  assertSupportedVersion,
} from '../connection/supported-orm.js';
import { InvalidOptionsError } from '../errors.js';
import type { DbConnectionOptions } from '../options/connection-options.js';
import { resolveConnectionOptions } from '../options/resolve-connection-options.js';

/**
 * Makes a connection from its options. Nothing connects to the database yet (L1).
 *
 * @param featureEntities the entities that feature modules add
 * @param report is called with errors that no caller can catch
 * @throws {@link InvalidOptionsError}, or MikroORM's error for metadata that it cannot read
 */
export async function createConnection(
  options: DbConnectionOptions,
  featureEntities: readonly EntityName[],
  report: FaultReporter,
): Promise<DbConnection> {
  const { name, settings, ormOptions } = resolveConnectionOptions(options);
  const { limits } = settings;
  // MikroORM 6 would connect to the database as it is initialised.
  assertSupportedVersion(name);
  const { orm = await initOrm(name, ormOptions, featureEntities, limits) } = options;
  assertSupported(name, orm);
  return new DbConnection(name, orm, settings, { ownsOrm: options.orm === undefined, report });
}

async function initOrm(
  name: string,
  options: Partial<Options>,
  featureEntities: readonly EntityName[],
  limits: ResolvedLimits,
): Promise<MikroORM> {
  const { driver, driverOptions, entities = [], replicas = [] } = options;
  if (driver === undefined) {
    throw new InvalidOptionsError(
      `The connection "${name}" has neither "orm" nor "driver". Wrap its options in defineConfig() of ` +
        `"@mikro-orm/postgresql": connections: [defineConfig({ clientUrl, entities })].`,
    );
  }
  [options, ...replicas].forEach(({ clientUrl }) => assertClientUrl(name, clientUrl));
  assertEncrypted(name, options);
  const isPlain = driverOptions === undefined || driverOptions.constructor === Object;
  return assertInitialised(
    name,
    driver,
    MikroORM.init({
      // Otherwise MikroORM looks for the database, and creates it, on a connection of its own.
      ensureDatabase: false,
      contextName: name,
      ...options,
      entities: [...new Set([...entities, ...(featureEntities as typeof entities)])],
      ...(isPlain && {
        driverOptions: {
          connectionTimeoutMillis: limits.acquireTimeoutMs,
          keepAlive: true,
          // The process may exit although a connection is idle, or waits for an answer that a dead network
          // link will never bring.
          allowExitOnIdle: true,
          ...(driverOptions as object | undefined),
        },
      }),
    }),
  );
}
