import { MikroORM, type Options } from '@mikro-orm/core';
import { defineConfig } from '@mikro-orm/postgresql';

import { Account } from './account.entity.js';

/** Connections that one application may hold, in every candidate. */
const POOL_SIZE = 10;

/** MikroORM's options, the same for all candidates. */
export function ormOptions(clientUrl: string): Options {
  return defineConfig({
    clientUrl,
    entities: [Account],
    ensureDatabase: false,
    pool: { min: 0, max: POOL_SIZE },
  }) as Options;
}

/** Lives as long as its process. */
export function openOrm(clientUrl: string): Promise<MikroORM> {
  return MikroORM.init(ormOptions(clientUrl));
}
