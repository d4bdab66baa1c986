import { MikroORM, type EntityName, type Options } from '@mikro-orm/core';

import { assertClientUrl } from '../connection/assert-client-url.js';
import { assertEncrypted } from '../connection/assert-encrypted.js';
import { assertPoolSize } from '../connection/assert-pool-size.js';
import type { ResolvedLimits } from '../connection/connection-limits.js';
import { createDatabaseOnce } from '../connection/database-creation.js';
import { DbConnection } from '../connection/db-connection.js';
import {
  assertInitialised,
  assertSupported,
  assertSupportedVersion,
} from '../connection/supported-orm.js';
import { droppedParametersOf } from '../connection/url-parameters.js';
import type { Reporters } from '../context/context-probe.js';
import { InvalidOptionsError } from '../errors.js';
import { assertOrm } from '../options/assert-orm.js';
import type { DbConnectionOptions } from '../options/connection-options.js';
import { resolveConnectionOptions } from '../options/resolve-connection-options.js';
import { logOfMikroOrm } from './log-reporters.js';

/**
 * Makes a connection from its options. Nothing connects to the database yet (L1).
 *
 * @param featureEntities the entities that feature modules add
 * @param reporters are called with errors that no caller can catch, and with warnings
 * @throws {@link InvalidOptionsError}, or MikroORM's error for metadata that it cannot read
 */
export async function createConnection(
  options: DbConnectionOptions,
  featureEntities: readonly EntityName[],
  { report, warn }: Reporters,
): Promise<DbConnection> {
  const { name, settings, ormOptions } = resolveConnectionOptions(options);
  assertOrm(name, options);
  const { limits } = settings;
  // MikroORM 6 would connect to the database as it is initialised.
  assertSupportedVersion(name);
  const { orm = await initOrm(name, ormOptions, featureEntities, limits, warn) } = options;
  assertSupported(name, orm);
  if (options.orm !== undefined) {
    const [clientUrl, driverOptions, pool] = [
      orm.config.get('clientUrl'),
      orm.config.get('driverOptions'),
      orm.config.get('pool'),
    ];
    assertEncrypted(name, { clientUrl, driverOptions });
    assertPoolSize(name, { pool, driverOptions });
  }
  const connection = new DbConnection(name, orm, settings, {
    ownsOrm: options.orm === undefined,
    report,
  });
  if (ormOptions.ensureDatabase !== undefined && ormOptions.ensureDatabase !== false) {
    createDatabaseOnce(orm, () => connection.placeHere);
  }
  return connection;
}

async function initOrm(
  name: string,
  options: Partial<Options>,
  featureEntities: readonly EntityName[],
  limits: ResolvedLimits,
  warn: (message: string) => void,
): Promise<MikroORM> {
  const { driver, driverOptions, entities = [], pool, replicas = [] } = options;
  if (driver === undefined) {
    throw new InvalidOptionsError(
      `The connection "${name}" has neither "orm" nor "driver". Wrap its options in defineConfig() of ` +
        `"@mikro-orm/postgresql": connections: [defineConfig({ clientUrl, entities })].`,
    );
  }
  // A replica has the options of pg of its own, or else those of the connection.
  for (const each of [options, ...replicas.map((replica) => ({ driverOptions, ...replica }))]) {
    assertClientUrl(name, each.clientUrl);
    assertEncrypted(name, each);
    assertPoolSize(name, { pool, driverOptions: each.driverOptions });
    warnOfDropped(name, each, warn);
  }
  const isPlain = driverOptions === undefined || driverOptions.constructor === Object;
  return assertInitialised(
    name,
    driver,
    MikroORM.init({
      // Otherwise MikroORM looks for the database, and creates it, on a connection of its own.
      ensureDatabase: false,
      contextName: name,
      logger: logOfMikroOrm,
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

/** Nobody else says that a parameter of the URL has no effect. */
function warnOfDropped(
  name: string,
  { clientUrl, driverOptions }: { readonly clientUrl?: unknown; readonly driverOptions?: unknown },
  warn: (message: string) => void,
): void {
  const dropped = droppedParametersOf(clientUrl);
  const { connectionString } = (driverOptions ?? {}) as { readonly connectionString?: unknown };
  if (connectionString === undefined && dropped.length > 0) {
    warn(
      `The clientUrl of connection "${name}" has parameters that have no effect, as MikroORM does not pass ` +
        `them on: ${dropped.join(', ')}. Give pg its options in driverOptions: ` +
        "{ application_name: 'orders' }, or leave them out.",
    );
  }
}
