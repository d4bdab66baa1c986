import { MikroORM, type Options } from '@mikro-orm/core';
import { defineConfig } from '@mikro-orm/postgresql';

import { Account } from './account.entity.js';

/** Connections that one application may hold, in every candidate. */
export const POOL_SIZE = 10;

/** How the server is reached. */
export interface Database {
  readonly clientUrl: string;
  /** Further options of the pool. */
  readonly driverOptions?: { readonly stream: () => unknown };
}

/** MikroORM's options, the same for all candidates. */
export function ormOptions(database: Database): Options {
  return defineConfig({
    ...database,
    entities: [Account],
    ensureDatabase: false,
    pool: { min: 0, max: POOL_SIZE },
  }) as Options;
}

/** Makes a MikroORM instance, which lives as long as its process. */
export function openOrm(database: Database): Promise<MikroORM> {
  return MikroORM.init(ormOptions(database));
}
