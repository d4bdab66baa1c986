import type { Connection, MikroORM } from '@mikro-orm/core';

import { HostPool } from './host-pool.js';

type Limits = ConstructorParameters<typeof HostPool>[2];

/** The pools of an `orm`'s read replicas. None connects by itself. */
export function replicaPools(orm: MikroORM, name: string, limits: Limits): readonly HostPool[] {
  // MikroORM has no accessor for all of them; `getConnection('read')` is any one.
  const { replicas } = orm.driver as unknown as { readonly replicas: readonly Connection[] };
  return replicas.map((replica) => new HostPool(replica, name, limits));
}
