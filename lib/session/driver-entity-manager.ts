import type { EntityManager } from '@mikro-orm/core';

/** @ts-ignore The package is an optional peer: where it is not installed, its type is `any`. */
type PostgreSqlEntityManager = import('@mikro-orm/postgresql').EntityManager;

/**
 * The entity manager of the driver, with its query builder and Kysely, where `@mikro-orm/postgresql` is
 * installed; else that of MikroORM's core.
 *
 * @publicApi
 */
export type DriverEntityManager = 0 extends 1 & PostgreSqlEntityManager
  ? EntityManager
  : PostgreSqlEntityManager;
