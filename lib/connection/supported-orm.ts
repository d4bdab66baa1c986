import type { MikroORM } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';

/** @throws {@link InvalidOptionsError} the MikroORM instance cannot have lazy sessions */
export function assertSupported(name: string, orm: MikroORM): void {
  const advice = `Use the driver of "@mikro-orm/postgresql": connections: [defineConfig({ clientUrl, entities })].`;
  if (!orm.driver.getDependencies().includes('pg')) {
    throw new InvalidOptionsError(
      `The connection "${name}" uses ${orm.driver.constructor.name}; only PostgreSQL is supported. ${advice}`,
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
